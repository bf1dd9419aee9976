import static java.util.Map.entry;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;

/** pgjdbc and HikariCP, as applications use them. */
final class PgjdbcDriver {
  private static final String URL =
      "jdbc:postgresql://%s:%s/%s".formatted(env("PGHOST"), env("PGPORT"), env("PGDATABASE"));
  private static final String MODES = "simple extended extendedForPrepared extendedCacheEverything";

  interface WithStir {
    void run(Harness.Work stir) throws Exception;
  }

  interface WithClient {
    void run(Connection client) throws Exception;
  }

  public static void main(String[] only) {
    Harness harness = new Harness();
    harness.scenario("what_connect_says_holds_for_good", PgjdbcDriver::whatConnectSays);
    harness.scenario("settings_stay_with_their_client", PgjdbcDriver::settingsStay);
    harness.scenario("every_query_mode_gives_the_same", PgjdbcDriver::everyMode);
    harness.scenario("statements_are_prepared_after_some_executions", PgjdbcDriver::threshold);
    harness.scenario("statements_beyond_the_cache_are_closed", PgjdbcDriver::beyondTheCache);
    harness.scenario("many_clients_prepare_the_same_and_different_statements", PgjdbcDriver::manyClients);
    harness.scenario("a_statement_is_prepared_again_when_its_table_changed", PgjdbcDriver::staleStatement);
    harness.scenario("batches_insert_and_return_keys", PgjdbcDriver::batches);
    harness.scenario("copy_goes_in_and_out", PgjdbcDriver::copies);
    harness.scenario("a_running_query_is_cancelled", PgjdbcDriver::cancel);
    harness.scenario("notifications_arrive", PgjdbcDriver::notifications);
    harness.scenario("savepoints_hold_what_was_before_them", PgjdbcDriver::savepoints);
    harness.scenario("autosave_survives_failing_statements", PgjdbcDriver::autosave);
    harness.scenario("rows_are_fetched_in_parts", PgjdbcDriver::fetchSize);
    harness.scenario("large_values_pass", PgjdbcDriver::largeValues);
    harness.scenario("types_are_looked_up_and_travel_in_binary", PgjdbcDriver::types);
    harness.scenario("functions_and_ref_cursors_are_called", PgjdbcDriver::functions);
    harness.scenario("warnings_arrive_with_their_statement", PgjdbcDriver::warnings);
    harness.scenario("metadata_is_asked_for", PgjdbcDriver::metadata);
    harness.scenario("a_pool_gives_configured_clients", PgjdbcDriver::poolConfigures);
    harness.scenario("a_pool_replaces_dead_connections", PgjdbcDriver::poolReplaces);
    harness.scenario("temp_tables_and_locks_stay_with_their_client", PgjdbcDriver::tempTables);
    harness.scenario("twenty_workers_never_see_each_other", PgjdbcDriver::twentyWorkers);
    harness.scenario("twenty_workers_share_a_pool", PgjdbcDriver::sharedPool);
    harness.run(only);
  }

  private static String env(String name) {
    return System.getenv(name);
  }

  private static Connection connect(Map<String, String> settings) throws SQLException {
    Properties properties = new Properties();
    properties.setProperty("user", env("PGUSER"));
    properties.setProperty("password", env("PGPASSWORD"));
    properties.putAll(settings);
    return DriverManager.getConnection(URL, properties);
  }

  private static Connection connect() throws SQLException {
    return connect(Map.of());
  }

  private static Connection holder() throws SQLException {
    return connect(Map.of("user", Harness.HOLDER, "password", Harness.HOLDER));
  }

  private static void with(Map<String, String> settings, WithClient work) throws Exception {
    try (Connection client = connect(settings)) {
      work.run(client);
    }
  }

  private static void execute(Connection client, String sql) throws SQLException {
    try (Statement statement = client.createStatement()) {
      statement.execute(sql);
    }
  }

  private static Object value(Connection client, String sql, Object... arguments) throws SQLException {
    try (PreparedStatement statement = client.prepareStatement(sql)) {
      return value(statement, arguments);
    }
  }

  private static Object value(PreparedStatement statement, Object... arguments) throws SQLException {
    for (int n = 0; n < arguments.length; n++) {
      statement.setObject(n + 1, arguments[n]);
    }
    try (ResultSet rows = statement.executeQuery()) {
      rows.next();
      return rows.getObject(1);
    }
  }

  /**
   * Clients on every server connection at once, each with settings and statements of its own. What is handed out lets
   * them all work again.
   */
  private static void withNeighbours(WithStir work) throws Exception {
    List<Connection> others = new ArrayList<>();
    try {
      for (int n = 0; n < Harness.SERVER_CONNECTIONS; n++) {
        Connection other = connect(Map.of("ApplicationName", "other " + n, "prepareThreshold", "1"));
        others.add(other);
        execute(other, "set work_mem = '%dMB'; set search_path = other%d; set intervalstyle = 'sql_standard'".formatted(n + 10, n));
        other.setAutoCommit(false);
      }
      Harness.Work stir =
          () -> {
            for (int n = 0; n < others.size(); n++) {
              Harness.equal(value(others.get(n), "select current_setting('work_mem') || ?", "!"), (n + 10) + "MB!");
            }
            for (Connection other : others) {
              other.commit();
            }
          };
      stir.run();
      work.run(stir);
    } finally {
      for (Connection other : others) {
        other.close();
      }
    }
  }

  private static void whatConnectSays() throws Exception {
    Map<String, String> settings =
        Map.of(
            "ApplicationName", "mine",
            "currentSchema", "pg_catalog",
            "options", "-c statement_timeout=54321 -c app.tenant=blue",
            "readOnly", "true",
            "readOnlyMode", "always");
    withNeighbours(
        stir ->
            with(
                settings,
                client -> {
                  for (int n = 0; n < 3; n++) {
                    Harness.equal(value(client, "show application_name"), "mine");
                    Harness.equal(value(client, "show search_path"), "pg_catalog");
                    Harness.equal(value(client, "show statement_timeout"), "54321ms");
                    Harness.equal(value(client, "show app.tenant"), "blue");
                    Harness.equal(value(client, "show timezone"), java.util.TimeZone.getDefault().getID());
                    Harness.fails("25006", () -> execute(client, "create table not_here ()"));
                    stir.run();
                  }
                  execute(client, "set statement_timeout = 1000; reset all");
                  Harness.equal(value(client, "show statement_timeout"), "54321ms");
                  // pgjdbc gives its name by SET
                  Harness.equal(value(client, "show application_name"), "");
                }));
  }

  private static void settingsStay() throws Exception {
    withNeighbours(
        stir -> {
          try (Connection client = connect()) {
            client.setSchema("mine");
            client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            client.setClientInfo("ApplicationName", "renamed");
            client.setNetworkTimeout(Runnable::run, 20_000);
            execute(client, "set time zone 'Asia/Tokyo'");
            value(client, "select set_config('work_mem', ?, false)", "77MB");
            client.setAutoCommit(false);
            execute(client, "set statement_timeout = 888");
            client.rollback();
            client.setAutoCommit(true);
            for (int n = 0; n < 3; n++) {
              stir.run();
              Harness.equal(value(client, "show search_path"), "mine");
              Harness.equal(value(client, "show transaction_isolation"), "serializable");
              Harness.equal(value(client, "show application_name"), "renamed");
              Harness.equal(value(client, "show timezone"), "Asia/Tokyo");
              Harness.equal(value(client, "show work_mem"), "77MB");
              Harness.equal(value(client, "show statement_timeout"), "0");
            }
          }
        });
  }

  private static void everyMode() throws Exception {
    withNeighbours(
        stir -> {
          for (String mode : MODES.split(" ")) {
            try (Connection client = connect(Map.of("preferQueryMode", mode))) {
              for (int n = 0; n < 12; n++) {
                Harness.equal(value(client, "select ?::int + 1", n), n + 1);
                try (Statement statement = client.createStatement()) {
                  Harness.equal(statement.execute("select 1; select 2"), true);
                  Harness.equal(statement.getMoreResults(), true);
                }
                if (n % 5 == 0) {
                  stir.run();
                }
              }
            }
          }
        });
  }

  private static void threshold() throws Exception {
    withNeighbours(
        stir -> {
          for (String threshold : List.of("0", "1", "3", "-1")) {
            try (Connection client = connect(Map.of("prepareThreshold", threshold));
                PreparedStatement statement = client.prepareStatement("select ?::int + 1, ?::text")) {
              for (int n = 0; n < 15; n++) {
                Harness.equal(value(statement, n, "x"), n + 1);
                if (n % 5 == 0) {
                  stir.run();
                }
              }
              Harness.equal(statement.getMetaData().getColumnCount(), 2);
            }
          }
          try (Connection client = connect(Map.of("prepareThreshold", "1"))) {
            Harness.equal(value(client, "select ?::int + 1", 1), 2);
            // pgjdbc watches the tag of what others call a reset, and forgets its statements
            execute(client, "deallocate all");
            Harness.equal(value(client, "select ?::int + 1", 2), 3);
            execute(client, "discard all");
            Harness.equal(value(client, "select ?::int + 1", 3), 4);
          }
        });
  }

  private static void beyondTheCache() throws Exception {
    withNeighbours(
        stir -> {
          try (Connection client = connect(Map.of("prepareThreshold", "1", "preparedStatementCacheQueries", "5"))) {
            for (int turn = 0; turn < 3; turn++) {
              for (int n = 0; n < 12; n++) {
                Harness.equal(value(client, "select ?::int + " + n, turn), turn + n);
              }
              stir.run();
            }
          }
        });
  }

  private static void manyClients() throws Exception {
    Harness.together(
        6,
        k -> {
          try (Connection client = connect(Map.of("prepareThreshold", "1"))) {
            for (int n = 0; n < 30; n++) {
              Harness.equal(value(client, "select ?::int8", n), (long) n);
              Harness.equal(value(client, "select ? || '-" + k + "'", n + ""), n + "-" + k);
            }
          }
        });
  }

  private static void staleStatement() throws Exception {
    Map<String, String> settings = Map.of("prepareThreshold", "1");
    try (Connection first = connect(settings);
        Connection second = connect(settings)) {
      execute(first, "drop table if exists pgjdbc_changing");
      execute(first, "create table pgjdbc_changing (a int)");
      execute(first, "insert into pgjdbc_changing values (1)");
      String read = "select * from pgjdbc_changing where a > ?";
      Harness.equal(value(first, read, 0), 1);
      Harness.equal(value(first, read, 0), 1);
      execute(first, "alter table pgjdbc_changing alter a type text");
      execute(first, "alter table pgjdbc_changing alter a type int8 using a::int8");
      Harness.equal(value(second, read, 0), 1L);
      // outside a transaction the driver notices and tries once more by itself
      Harness.equal(value(first, read, 0), 1L);
      execute(first, "drop table pgjdbc_changing");
    }
  }

  private static void batches() throws Exception {
    withNeighbours(
        stir -> {
          for (String rewrite : List.of("false", "true")) {
            try (Connection client = connect(Map.of("reWriteBatchedInserts", rewrite))) {
              execute(client, "drop table if exists pgjdbc_batch");
              execute(client, "create table pgjdbc_batch (id serial, name text unique)");
              String insert = "insert into pgjdbc_batch (name) values (?)";
              try (PreparedStatement statement = client.prepareStatement(insert, new String[] {"id"})) {
                for (int n = 0; n < 1000; n++) {
                  statement.setString(1, "n" + n);
                  statement.addBatch();
                }
                Harness.equal(statement.executeBatch().length, 1000);
                int keys = 0;
                try (ResultSet rows = statement.getGeneratedKeys()) {
                  while (rows.next()) {
                    Harness.equal(rows.getInt(1), ++keys);
                  }
                }
                Harness.equal(keys, 1000);
                for (String name : List.of("new", "n7", "newer")) {
                  statement.setString(1, name);
                  statement.addBatch();
                }
                stir.run();
                Harness.fails("23505", statement::executeBatch);
              } catch (BatchUpdateException error) {
                throw error.getNextException();
              }
              Harness.equal(value(client, "select count(*) from pgjdbc_batch"), 1000L);
              execute(client, "drop table pgjdbc_batch");
            }
          }
        });
  }

  private static void copies() throws Exception {
    withNeighbours(
        stir -> {
          try (Connection client = connect()) {
            execute(client, "drop table if exists pgjdbc_copy; create table pgjdbc_copy (n int primary key, t text)");
            CopyManager copy = client.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder lines = new StringBuilder();
            for (int n = 0; n < 20_000; n++) {
              lines.append(n).append("\trow ").append(n).append('\n');
            }
            byte[] bytes = lines.toString().getBytes(StandardCharsets.UTF_8);
            String in = "copy pgjdbc_copy from stdin";
            Harness.equal(copy.copyIn(in, new ByteArrayInputStream(bytes)), 20_000L);
            stir.run();
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            copy.copyOut("copy (select * from pgjdbc_copy order by n) to stdout", out);
            Harness.equal(out.toByteArray(), bytes);
            Harness.fails("23505", () -> copy.copyIn(in, new ByteArrayInputStream(bytes)));
            CopyIn stopped = copy.copyIn(in);
            stopped.writeToCopy("99999\tx\n".getBytes(StandardCharsets.UTF_8), 0, 8);
            stopped.cancelCopy();
            Harness.equal(value(client, "select count(*) from pgjdbc_copy"), 20_000L);
            execute(client, "drop table pgjdbc_copy");
          }
        });
  }

  private static void cancel() throws Exception {
    withNeighbours(
        stir -> {
          try (Connection client = connect();
              Connection bystander = connect();
              Statement statement = client.createStatement()) {
            for (int n = 0; n < 3; n++) {
              CompletableFuture.runAsync(
                  () -> {
                    try {
                      statement.cancel();
                    } catch (SQLException error) {
                      throw new AssertionError(error);
                    }
                  },
                  CompletableFuture.delayedExecutor(200, TimeUnit.MILLISECONDS));
              Harness.fails("57014", () -> statement.execute("select pg_sleep(30)"));
              Harness.equal(value(client, "select 5"), 5);
              Harness.equal(value(bystander, "select 6"), 6);
            }
            statement.setQueryTimeout(1);
            Harness.fails("57014", () -> statement.execute("select pg_sleep(30)"));
            statement.cancel();
            Harness.equal(value(client, "select 7"), 7);
          }
        });
  }

  private static void notifications() throws Exception {
    try (Connection listener = holder();
        Connection sender = connect()) {
      execute(listener, "listen pgjdbc_channel");
      List<String> got = new ArrayList<>();
      for (int n = 0; n < 3; n++) {
        value(sender, "select pg_notify('pgjdbc_channel', ?)::text", "message " + n);
      }
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
      while (got.size() < 3 && System.nanoTime() < end) {
        PGNotification[] some = listener.unwrap(PGConnection.class).getNotifications(1000);
        for (PGNotification one : some == null ? new PGNotification[0] : some) {
          got.add(one.getParameter());
        }
      }
      Harness.equal(got, List.of("message 0", "message 1", "message 2"));
      execute(listener, "unlisten *");
      execute(sender, "notify pgjdbc_channel, 'late'");
      Harness.equal(value(listener, "select 1"), 1);
      Harness.equal(listener.unwrap(PGConnection.class).getNotifications(), new PGNotification[0]);
    }
  }

  private static void savepoints() throws Exception {
    withNeighbours(
        stir -> {
          try (Connection client = connect()) {
            client.setAutoCommit(false);
            execute(client, "create temp table kept (n int) on commit drop");
            execute(client, "insert into kept values (1)");
            Savepoint point = client.setSavepoint("point");
            execute(client, "insert into kept values (2)");
            Harness.fails("22012", () -> value(client, "select 1 / ?::int", 0));
            Harness.fails("25P02", () -> execute(client, "select 1"));
            client.rollback(point);
            execute(client, "insert into kept values (3)");
            client.releaseSavepoint(point);
            Array kept = (Array) value(client, "select array_agg(n order by n) from kept");
            Harness.equal(kept.getArray(), new Integer[] {1, 3});
            client.commit();
            stir.run();
            Harness.fails("42P01", () -> execute(client, "select * from kept"));
            client.rollback();
            client.setReadOnly(true);
            Harness.fails("25006", () -> execute(client, "create table not_here ()"));
            client.rollback();
          }
        });
  }

  private static void autosave() throws Exception {
    for (String mode : List.of("always", "conservative")) {
      try (Connection client = connect(Map.of("autosave", mode, "prepareThreshold", "1"))) {
        client.setAutoCommit(false);
        for (int n = 0; n < 10; n++) {
          Harness.equal(value(client, "select ?::int", n), n);
          if (mode.equals("always")) {
            Harness.fails("22012", () -> value(client, "select 1 / ?::int", 0));
          }
        }
        client.commit();
      }
    }
  }

  private static void fetchSize() throws Exception {
    withNeighbours(
        stir -> {
          try (Connection client = connect(Map.of("defaultRowFetchSize", "77", "prepareThreshold", "2"))) {
            client.setAutoCommit(false);
            for (int turn = 0; turn < 4; turn++) {
              try (PreparedStatement statement = client.prepareStatement("select n from generate_series(1, ?) n");
                  PreparedStatement other = client.prepareStatement("select ?::int * 2")) {
                statement.setInt(1, 1000);
                long total = 0;
                try (ResultSet rows = statement.executeQuery()) {
                  while (rows.next()) {
                    total += rows.getInt(1);
                    // other statements between two parts of a portal
                    if (rows.getInt(1) % 100 == 0) {
                      Harness.equal(value(other, rows.getInt(1)), rows.getInt(1) * 2);
                    }
                  }
                }
                Harness.equal(total, 500_500L);
                statement.setMaxRows(10);
                try (ResultSet rows = statement.executeQuery()) {
                  int count = 0;
                  while (rows.next()) {
                    count++;
                  }
                  Harness.equal(count, 10);
                }
              }
              client.commit();
              stir.run();
            }
          }
        });
  }

  private static void largeValues() throws Exception {
    String text = "ä€😀".repeat(1_000_000);
    byte[] data = "pgpooler\0".repeat(1_000_000).getBytes(StandardCharsets.UTF_8);
    withNeighbours(
        stir -> {
          try (Connection client = connect();
              PreparedStatement statement = client.prepareStatement("select ?::text, ?::bytea")) {
            for (int n = 0; n < 6; n++) {
              statement.setString(1, text);
              statement.setBytes(2, data);
              try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                Harness.equal(rows.getString(1).equals(text), true);
                Harness.equal(rows.getBytes(2), data);
              }
            }
          }
        });
  }

  private static void types() throws Exception {
    withNeighbours(
        stir -> {
          // with binaryTransfer pgjdbc asks for binary results once a statement is prepared on the server
          try (Connection client = connect(Map.of("prepareThreshold", "-1"))) {
            execute(client, "drop type if exists pgjdbc_mood; create type pgjdbc_mood as enum ('sad', 'glad')");
            UUID id = UUID.randomUUID();
            Timestamp when = new Timestamp(1709208000000L);
            String sql = "select ?::int[], ?::jsonb, ?::uuid, ?::timestamptz, 'glad'::pgjdbc_mood, ?::numeric, null, 1.5::float8";
            for (int n = 0; n < 8; n++) {
              try (PreparedStatement statement = client.prepareStatement(sql)) {
                PGobject json = new PGobject();
                json.setType("jsonb");
                json.setValue("{\"ü\": [1]}");
                statement.setArray(1, client.createArrayOf("int4", new Integer[] {1, null, 3}));
                statement.setObject(2, json);
                statement.setObject(3, id);
                statement.setTimestamp(4, when);
                statement.setBigDecimal(5, new java.math.BigDecimal("123456789012345678.90"));
                try (ResultSet rows = statement.executeQuery()) {
                  rows.next();
                  Harness.equal(rows.getArray(1).getArray(), new Integer[] {1, null, 3});
                  Harness.equal(rows.getString(2), "{\"ü\": [1]}");
                  Harness.equal(rows.getObject(3), id);
                  Harness.equal(rows.getTimestamp(4), when);
                  Harness.equal(rows.getString(5), "glad");
                  Harness.equal(rows.getMetaData().getColumnTypeName(5), "pgjdbc_mood");
                  Harness.equal(rows.getBigDecimal(6).toPlainString(), "123456789012345678.90");
                  Harness.equal(rows.getObject(7), null);
                  Harness.equal(rows.getDouble(8), 1.5);
                }
              }
              if (n % 3 == 0) {
                stir.run();
              }
            }
            execute(client, "drop type pgjdbc_mood");
          }
        });
  }

  private static void functions() throws Exception {
    try (Connection client = connect()) {
      execute(
          client,
          "create or replace function pgjdbc_rows() returns refcursor language plpgsql as $$ declare c refcursor;"
              + " begin open c for select generate_series(1, 5); return c; end $$");
      client.setAutoCommit(false);
      try (var call = client.prepareCall("{? = call pgjdbc_rows()}")) {
        call.registerOutParameter(1, Types.REF_CURSOR);
        call.execute();
        int count = 0;
        try (ResultSet rows = (ResultSet) call.getObject(1)) {
          while (rows.next()) {
            Harness.equal(rows.getInt(1), ++count);
          }
        }
        Harness.equal(count, 5);
      }
      client.commit();
      client.setAutoCommit(true);
      execute(client, "drop function pgjdbc_rows()");
      // large objects go by the protocol's function call
      client.setAutoCommit(false);
      var objects = client.unwrap(PGConnection.class).getLargeObjectAPI();
      long object = objects.createLO();
      var file = objects.open(object);
      file.write(new byte[100_000]);
      file.seek(0);
      Harness.equal(file.read(200_000).length, 100_000);
      file.close();
      objects.delete(object);
      client.commit();
    }
  }

  private static void warnings() throws Exception {
    withNeighbours(
        stir -> {
          try (Connection client = connect();
              Statement statement = client.createStatement()) {
            statement.execute("do $$ begin for n in 1..2 loop raise notice 'number %', n; end loop; end $$");
            Harness.equal(statement.getWarnings().getMessage(), "number 1");
            Harness.equal(statement.getWarnings().getNextWarning().getMessage(), "number 2");
          }
        });
  }

  private static void metadata() throws Exception {
    try (Connection client = connect()) {
      execute(client, "drop table if exists pgjdbc_meta; create table pgjdbc_meta (id int primary key, t varchar(7))");
      var metadata = client.getMetaData();
      try (ResultSet columns = metadata.getColumns(null, "public", "pgjdbc_meta", "%")) {
        columns.next();
        columns.next();
        Harness.equal(columns.getInt("COLUMN_SIZE"), 7);
      }
      try (ResultSet keys = metadata.getPrimaryKeys(null, "public", "pgjdbc_meta")) {
        keys.next();
        Harness.equal(keys.getString("COLUMN_NAME"), "id");
      }
      execute(client, "drop table pgjdbc_meta");
      Harness.equal(client.isValid(5), true);
    }
  }

  private static HikariConfig hikari(int size) {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl(URL);
    config.setUsername(env("PGUSER"));
    config.setPassword(env("PGPASSWORD"));
    config.setMaximumPoolSize(size);
    config.setConnectionTimeout(20_000);
    return config;
  }

  private static void poolConfigures() throws Exception {
    HikariConfig config = hikari(6);
    config.setSchema("tenant");
    config.setTransactionIsolation("TRANSACTION_REPEATABLE_READ");
    config.setConnectionInitSql("set statement_timeout = '33s'; set timezone = 'Asia/Tokyo'");
    config.addDataSourceProperty("prepareThreshold", "1");
    withNeighbours(
        stir -> {
          try (HikariDataSource pool = new HikariDataSource(config)) {
            for (int n = 0; n < 20; n++) {
              try (Connection one = pool.getConnection();
                  Connection two = pool.getConnection()) {
                for (Connection client : List.of(one, two)) {
                  Harness.equal(value(client, "show search_path"), "tenant");
                  Harness.equal(value(client, "show statement_timeout"), "33s");
                  Harness.equal(value(client, "show timezone"), "Asia/Tokyo");
                  Harness.equal(value(client, "show transaction_isolation"), "repeatable read");
                  // what the application changes by its methods the pool changes back
                  client.setSchema("left_behind");
                  client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                  client.setReadOnly(true);
                }
              }
              if (n % 5 == 0) {
                stir.run();
              }
            }
          }
        });
  }

  private static void poolReplaces() throws Exception {
    HikariConfig config = hikari(2);
    config.setConnectionTestQuery("select 1");
    try (HikariDataSource pool = new HikariDataSource(config)) {
      for (int n = 0; n < 3; n++) {
        try (Connection client = pool.getConnection()) {
          try {
            value(client, "select pg_terminate_backend(pg_backend_pid())");
            throw new AssertionError("the connection lives on");
          } catch (PSQLException error) {
            Harness.equal(List.of("57P01", "08006").contains(error.getSQLState()), true);
          }
        }
        try (Connection client = pool.getConnection()) {
          Harness.equal(value(client, "select 1"), 1);
        }
        pool.getHikariPoolMXBean().softEvictConnections();
      }
    }
    try (HikariDataSource pool = new HikariDataSource(config);
        Connection client = pool.getConnection()) {
      Harness.equal(value(client, "select 2"), 2);
    }
  }

  private static void tempTables() throws Exception {
    List<Connection> clients = new ArrayList<>();
    try {
      for (int n = 0; n < 5; n++) {
        Connection client = holder();
        clients.add(client);
        execute(client, "create temp table mine (n int)");
        execute(client, "insert into mine values (" + n + ")");
        Harness.equal(value(client, "select pg_try_advisory_lock(137, ?)", n), true);
      }
      for (int n = 0; n < 5; n++) {
        Connection client = clients.get(n);
        Harness.equal(value(client, "select n from mine"), n);
        Harness.equal(value(client, "select pg_try_advisory_lock(137, ?)", (n + 1) % 5), false);
        Harness.equal(value(client, "select pg_advisory_unlock(137, ?)", n), true);
        Harness.equal(value(client, "select pg_try_advisory_lock(137, ?)", n), true);
      }
    } finally {
      for (Connection client : clients) {
        client.close();
      }
    }
  }

  private static void twentyWorkers() throws Exception {
    Harness.together(
        20,
        worker -> {
          String zone = "<W%02d>-%02d".formatted(worker, worker % 12);
          Map<String, String> settings =
              Map.ofEntries(
                  entry("ApplicationName", "worker " + worker),
                  entry("prepareThreshold", "1"),
                  entry("preparedStatementCacheQueries", "4"));
          try (Connection client = connect(settings)) {
            execute(client, "set work_mem = '%dMB'; set timezone = '%s'".formatted(100 + worker, zone));
            for (int n = 0; n < 100; n++) {
              switch (n % 4) {
                case 0 -> {
                  client.setAutoCommit(false);
                  Harness.equal(value(client, "show work_mem"), (100 + worker) + "MB");
                  Harness.equal(value(client, "show application_name"), "worker " + worker);
                  client.commit();
                  client.setAutoCommit(true);
                }
                case 1 -> Harness.equal(value(client, "select ?::int * 1000 + " + worker, n), n * 1000 + worker);
                case 2 -> Harness.equal(value(client, "select current_setting('timezone')"), zone);
                default -> {
                  String raise = "do $$ begin raise exception 'mine %d'; end $$".formatted(worker);
                  SQLException error = Harness.fails("P0001", () -> execute(client, raise));
                  Harness.equal(error.getMessage().contains("mine " + worker + "\n"), true);
                }
              }
            }
          }
        });
  }

  private static void sharedPool() throws Exception {
    HikariConfig config = hikari(10);
    config.addDataSourceProperty("prepareThreshold", "2");
    try (HikariDataSource pool = new HikariDataSource(config)) {
      Harness.together(
          20,
          worker -> {
            for (int n = 0; n < 100; n++) {
              try (Connection client = pool.getConnection()) {
                client.setAutoCommit(false);
                value(client, "select set_config('app.worker', ?, true)", worker + "");
                Harness.equal(value(client, "select ?::int * 1000 + " + worker % 7, n), n * 1000 + worker % 7);
                Harness.equal(value(client, "show app.worker"), worker + "");
                client.commit();
              }
            }
          });
    }
  }
}
