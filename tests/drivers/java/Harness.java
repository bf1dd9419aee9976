import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/**
 * Runs a driver's scenarios and prints one line for each.
 *
 * <p>Where PostgreSQL or the pooler is, libpq's own variables say: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE.
 * Through the pooler that user's pool has three server connections. HOLDER may have as many as it likes: scenarios whose
 * clients need a server connection for as long as they live log in as that user.
 */
final class Harness {
  static final int SERVER_CONNECTIONS = 3;
  static final String HOLDER = "holder";

  /** What must not wait for ever: a reply that never comes is the worst that a pooler can do. */
  private static final long PATIENCE = 60;

  private final Map<String, Work> scenarios = new LinkedHashMap<>();

  interface Work {
    void run() throws Exception;
  }

  interface Numbered {
    void run(int n) throws Exception;
  }

  void scenario(String name, Work work) {
    scenarios.put(name, work);
  }

  static void equal(Object got, Object wanted) {
    if (!Objects.deepEquals(got, wanted)) {
      throw new AssertionError("got " + shown(got) + ", wanted " + shown(wanted));
    }
  }

  /** Demands an error with this SQLSTATE, and gives it. */
  static SQLException fails(String state, Work work) throws Exception {
    try {
      work.run();
    } catch (SQLException error) {
      if (!state.equals(error.getSQLState())) {
        throw new AssertionError("got " + error.getSQLState() + " (" + error.getMessage() + "), wanted " + state, error);
      }
      return error;
    }
    throw new AssertionError("no error, wanted " + state);
  }

  /** Calls work for each number below count, all at once. */
  static void together(int count, Numbered work) throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(count);
    List<Future<?>> all = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int n = i;
      all.add(
          threads.submit(
              () -> {
                work.run(n);
                return null;
              }));
    }
    threads.shutdown();
    for (Future<?> one : all) {
      try {
        one.get();
      } catch (ExecutionException error) {
        throw new AssertionError(error.getCause().toString(), error.getCause());
      }
    }
  }

  /** Runs all, or those named, and ends the process. */
  void run(String[] only) {
    int failed = 0;
    for (Map.Entry<String, Work> scenario : scenarios.entrySet()) {
      if (only.length > 0 && !Arrays.asList(only).contains(scenario.getKey())) {
        continue;
      }
      Throwable failure = inTime(scenario.getValue());
      if (failure == null) {
        System.out.println("ok " + scenario.getKey());
      } else {
        failed = 1;
        String why = (place(failure) + failure).replaceAll("\\s+", " ");
        System.out.println("FAILED " + scenario.getKey() + ": " + why.substring(0, Math.min(400, why.length())));
      }
    }
    // a client that hangs must not keep the process
    Runtime.getRuntime().halt(failed);
  }

  private static Throwable inTime(Work work) {
    ExecutorService thread = Executors.newSingleThreadExecutor();
    Future<?> done =
        thread.submit(
            () -> {
              work.run();
              return null;
            });
    thread.shutdown();
    try {
      done.get(PATIENCE, TimeUnit.SECONDS);
      return null;
    } catch (ExecutionException error) {
      return error.getCause();
    } catch (Exception error) {
      return new AssertionError("not done after " + PATIENCE + " s");
    }
  }

  /** The line of the scenario, not of the helper that found it out. */
  private static String place(Throwable failure) {
    Throwable first = failure instanceof AssertionError && failure.getCause() != null ? failure.getCause() : failure;
    for (StackTraceElement element : first.getStackTrace()) {
      if (element.getFileName() != null && element.getFileName().endsWith("Driver.java")) {
        return "line " + element.getLineNumber() + ": ";
      }
    }
    return "";
  }

  private static String shown(Object value) {
    String text = value instanceof Object[] array ? Arrays.deepToString(array) : String.valueOf(value);
    return text.substring(0, Math.min(300, text.length()));
  }
}
