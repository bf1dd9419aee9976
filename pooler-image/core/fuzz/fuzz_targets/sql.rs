#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pgpooler_fuzzing::run("sql", data));
