import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import javax.sql.DataSource;
import org.apache.commons.dbcp2.BasicDataSource;

/** pgjdbc with HikariCP, as it is or with a test of every connection that it hands out, or with DBCP2. */
final class PgjdbcFleet {
  public static void main(String[] arguments) throws Exception {
    String name = arguments[0];
    new Fleet(name, pool(name)).run();
    Runtime.getRuntime().halt(0);
  }

  private static DataSource pool(String name) {
    return switch (name) {
      case "hikaricp" -> hikari(name);
      case "hikaricp-bypass-0" -> {
        System.setProperty("com.zaxxer.hikari.aliveBypassWindowMs", "0");
        yield hikari(name);
      }
      case "dbcp2" -> dbcp2(name);
      default -> throw new IllegalArgumentException(name);
    };
  }

  private static DataSource hikari(String name) {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl(url(name));
    config.setUsername(System.getenv("PGUSER"));
    config.setPassword(System.getenv("PGPASSWORD"));
    config.setMaximumPoolSize(Fleet.workers());
    return new HikariDataSource(config);
  }

  private static DataSource dbcp2(String name) {
    BasicDataSource pool = new BasicDataSource();
    pool.setUrl(url(name));
    pool.setUsername(System.getenv("PGUSER"));
    pool.setPassword(System.getenv("PGPASSWORD"));
    pool.setInitialSize(Fleet.workers());
    pool.setMaxTotal(Fleet.workers());
    pool.setMaxIdle(Fleet.workers());
    return pool;
  }

  private static String url(String name) {
    return "jdbc:postgresql://%s:%s/%s?ApplicationName=%s&sslmode=%s"
        .formatted(
            System.getenv("PGHOST"),
            System.getenv("PGPORT"),
            System.getenv("PGDATABASE"),
            name,
            System.getenv().getOrDefault("PGSSLMODE", "prefer"));
  }
}
