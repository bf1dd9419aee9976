//! Development tasks of pgpooler: `cargo xtask demo`, `test`, `cluster`, `image`, `generate`.

fn main() {}
