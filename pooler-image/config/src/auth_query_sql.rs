//! The function that the default `auth_query` calls, for whoever sets up the server.

/// SQL that makes the function, for a superuser to run in the database where users are looked up.
///
/// It gives secrets of roles that can log in, and of them alone: no superuser, no role that may replicate, no expired
/// password, not `auth_user` itself.
pub fn auth_query_sql(auth_user: &str) -> String {
    let role = format!("\"{}\"", auth_user.replace('"', "\"\""));
    let name = format!("'{}'", auth_user.replace('\'', "''"));
    format!(
        r"-- For the database of `auth_dbname`, as a superuser. The role {role} must exist:
--   CREATE ROLE {role} LOGIN PASSWORD '...';
BEGIN;
CREATE SCHEMA IF NOT EXISTS pgpooler;
REVOKE ALL ON SCHEMA pgpooler FROM PUBLIC;
GRANT USAGE ON SCHEMA pgpooler TO {role};

CREATE OR REPLACE FUNCTION pgpooler.user_lookup(IN name text, OUT username text, OUT password text)
RETURNS SETOF record
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT rolname::pg_catalog.text, rolpassword
    FROM pg_catalog.pg_authid
   WHERE rolname = $1
     AND rolcanlogin
     AND NOT rolsuper
     AND NOT rolreplication
     AND rolname <> {name}
     AND (rolvaliduntil IS NULL OR rolvaliduntil > pg_catalog.now())
$function$;

REVOKE ALL ON FUNCTION pgpooler.user_lookup(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgpooler.user_lookup(text) TO {role};
COMMIT;
"
    )
}
