import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import javax.sql.DataSource;

/**
 * Works as a fleet of an application's workers does, until told to stop, and prints one line of JSON.
 *
 * <p>See the README for what the environment and the line say.
 */
final class Fleet {
  private static final int LONG_SECONDS = 2;

  /** More errors than a person reads. */
  private static final int REMEMBERED = 100;

  private final String name;
  private final DataSource pool;
  private final String table;
  private final AtomicBoolean stopped = new AtomicBoolean();
  private final List<String> errors = new ArrayList<>();
  private long units;
  private long failed;
  private long committed;
  private long unsure;
  private long longestMillis;

  private enum Unit {
    SELECT,
    PREPARED,
    BOOKING,
    LONG;

    static Unit next() {
      double dice = ThreadLocalRandom.current().nextDouble();
      return dice < 0.02 ? LONG : dice < 0.4 ? SELECT : dice < 0.7 ? BOOKING : PREPARED;
    }

    boolean books() {
      return this == BOOKING || this == LONG;
    }

    int sleeps() {
      return this == LONG ? LONG_SECONDS : 0;
    }
  }

  Fleet(String name, DataSource pool) {
    this.name = name;
    this.pool = pool;
    this.table = "\"fleet " + name + "\"";
  }

  static int workers() {
    String count = System.getenv("FLEET_WORKERS");
    return count == null ? 8 : Integer.parseInt(count);
  }

  /** Runs the workers until a line comes, then reports. */
  void run() throws Exception {
    execute("create table if not exists %s (worker int primary key, bookings bigint not null)".formatted(table));
    execute(
        "insert into %s select n, 0 from generate_series(0, %d) n on conflict do nothing"
            .formatted(table, workers() - 1));
    long before = total();
    List<Thread> threads = new ArrayList<>();
    for (int n = 0; n < workers(); n++) {
      int worker = n;
      threads.add(new Thread(() -> work(worker)));
    }
    threads.forEach(Thread::start);
    System.out.println("started");
    while (true) {
      int letter = System.in.read();
      if (letter == '\n' || letter < 0) {
        break;
      }
    }
    stopped.set(true);
    for (Thread thread : threads) {
      thread.join();
    }
    report(total() - before);
  }

  private void work(int worker) {
    while (!stopped.get()) {
      think();
      Unit unit = Unit.next();
      long start = System.nanoTime();
      Exception failure = null;
      try {
        perform(unit, worker);
      } catch (Exception error) {
        failure = error;
      }
      done(unit, (System.nanoTime() - start) / 1_000_000 - unit.sleeps() * 1000L, failure);
    }
  }

  /** Between two units of a worker: mostly short, now and then long enough for a pool to test. */
  private static void think() {
    double seconds = Math.min(-Math.log(1 - ThreadLocalRandom.current().nextDouble()) / 5, 3);
    try {
      Thread.sleep((long) (seconds * 1000));
    } catch (InterruptedException nobodyInterrupts) {
      throw new IllegalStateException(nobodyInterrupts);
    }
  }

  private void perform(Unit unit, int worker) throws SQLException {
    try (Connection client = pool.getConnection()) {
      switch (unit) {
        case SELECT -> equal(number(client, "select 1"), 1);
        case PREPARED -> {
          try (var statement = client.prepareStatement("select ?::int + 1")) {
            statement.setInt(1, worker);
            try (var rows = statement.executeQuery()) {
              rows.next();
              equal(rows.getLong(1), worker + 1);
            }
          }
        }
        case BOOKING, LONG -> book(client, worker, unit.sleeps());
      }
    }
  }

  private void book(Connection client, int worker, int sleeps) throws SQLException {
    client.setAutoCommit(false);
    try {
      try (var update = client.prepareStatement("update %s set bookings = bookings + 1 where worker = ?".formatted(table))) {
        update.setInt(1, worker);
        update.executeUpdate();
      }
      if (sleeps > 0) {
        try (var statement = client.createStatement()) {
          statement.execute("select pg_sleep(" + sleeps + ")");
        }
      }
      client.commit();
    } catch (SQLException error) {
      client.rollback();
      throw error;
    } finally {
      client.setAutoCommit(true);
    }
  }

  private static void equal(long got, long wanted) {
    if (got != wanted) {
      throw new IllegalStateException("got " + got + ", wanted " + wanted);
    }
  }

  private synchronized void done(Unit unit, long millis, Exception failure) {
    units++;
    longestMillis = Math.max(longestMillis, millis);
    if (failure == null) {
      committed += unit.books() ? 1 : 0;
      return;
    }
    failed++;
    unsure += unit.books() ? 1 : 0;
    if (errors.size() < REMEMBERED) {
      errors.add(
          "{\"at_ms\": %d, \"unit\": \"%s\", \"error\": \"%s\"}"
              .formatted(System.currentTimeMillis(), unit.name().toLowerCase(), escaped(failure.toString())));
    }
  }

  private static String escaped(String text) {
    String line = text.replaceAll("\\s+", " ").replace("\\", "\\\\").replace("\"", "\\\"");
    return line.substring(0, Math.min(300, line.length())).replaceAll("\\\\$", "");
  }

  private void report(long ledger) {
    System.out.printf(
        "{\"fleet\": \"%s\", \"units\": %d, \"failed\": %d, \"committed\": %d, \"unsure\": %d, \"ledger\": %d,"
            + " \"longest_ms\": %d, \"errors\": [%s]}%n",
        name, units, failed, committed, unsure, ledger, longestMillis, String.join(", ", errors));
  }

  private void execute(String sql) throws SQLException {
    try (Connection client = pool.getConnection();
        var statement = client.createStatement()) {
      statement.execute(sql);
    }
  }

  private long total() throws SQLException {
    try (Connection client = pool.getConnection()) {
      return number(client, "select coalesce(sum(bookings), 0)::bigint from " + table);
    }
  }

  private static long number(Connection client, String sql) throws SQLException {
    try (var statement = client.createStatement();
        var rows = statement.executeQuery(sql)) {
      rows.next();
      return rows.getLong(1);
    }
  }
}
