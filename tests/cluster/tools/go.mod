// Small programs for the test cluster's own images; standard library only.
module pgpooler.dev/tests/cluster/tools

go 1.26.0

toolchain go1.26.8
