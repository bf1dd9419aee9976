//! Every target with the seeds that are checked in, and with bytes of a simple generator.

use std::path::Path;
use std::{fs, io};

use pgpooler_fuzzing::TARGETS;

/// Rounds of the generator a target; `PGPOOLER_FUZZ_ROUNDS` for more.
const ROUNDS: u64 = 2000;

fn rounds() -> u64 {
    std::env::var("PGPOOLER_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// The same every time: xorshift64*.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.next() as usize % most;
        (0..length).map(|_| (self.next() >> 33) as u8).collect()
    }
}

fn seeds(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.into_iter().map(fs::read).collect()
}

#[test]
fn every_target_stands_its_seeds_and_every_change_of_one_byte_of_them() -> io::Result<()> {
    let mut dice = Dice(1);
    for (name, target) in TARGETS {
        let seeds = seeds(name)?;
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for mut seed in seeds {
            target(&seed);
            for _ in 0..seed.len().min(100) {
                let at = dice.next() as usize % seed.len();
                let byte = (dice.next() >> 33) as u8;
                let Some(place) = seed.get_mut(at) else { continue };
                let before = std::mem::replace(place, byte);
                target(&seed);
                if let Some(place) = seed.get_mut(at) {
                    *place = before;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn sessions_of_any_bytes_are_exact() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (1..=rounds())
        .map(|round| Dice(round.wrapping_mul(0x9E37_79B9_7F4A_7C15)).bytes(300))
        .find(|data| fails(data))
        .map(shortest);
    std::panic::set_hook(hook);
    if let Some(data) = found {
        println!("found by b\"{}\"", data.escape_ascii());
        pgpooler_fuzzing::session(&data);
    }
}

fn fails(data: &[u8]) -> bool {
    std::panic::catch_unwind(|| pgpooler_fuzzing::session(data)).is_err()
}

/// Without the bytes that the failure does not need.
fn shortest(mut data: Vec<u8>) -> Vec<u8> {
    for width in [32, 8, 3, 2, 1] {
        let mut at = 0;
        while at + width <= data.len() {
            let mut less = data.clone();
            less.drain(at..at + width);
            if fails(&less) { data = less } else { at += 1 }
        }
    }
    data
}
