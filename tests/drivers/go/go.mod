module pgpooler.dev/drivers

go 1.24

require (
	github.com/jackc/pgx/v5 v5.13.0
	github.com/lib/pq v1.12.3
)
