//! The random numbers of a volume.

use uuid::{Builder, Uuid};

/// Values that should differ between any two volumes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Random {
    /// UUID, version 4.
    pub uuid: Uuid,
    /// Generation of the volume.
    pub generation: u32,
    /// Seed of the directory hash.
    pub dx_seed: [u32; 3],
}

impl Random {
    /// New values from the random numbers of the system.
    pub fn fresh() -> Self {
        // A version 4 UUID is random except for six fixed bits.
        let bits = Uuid::new_v4().as_u128();
        Self { uuid: Uuid::new_v4(), ..Self::from_seed((bits >> 64 ^ bits) as u64) }
    }

    /// The values for `seed`, which are always the same.
    ///
    /// The generator is SplitMix64. Its first two numbers, big-endian, make up the UUID (with the
    /// bits of version 4 and the RFC 4122 variant set). The low half of the third is the
    /// generation. The fourth, low half first, and the low half of the fifth are the hash seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let bits = u128::from(next()) << 64 | u128::from(next());
        let uuid = Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
        let generation = next() as u32;
        let (first, second) = (next(), next());
        Self { uuid, generation, dx_seed: [first as u32, (first >> 32) as u32, second as u32] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_numbers() {
        // The first outputs of SplitMix64 for seed 0: e220a8397b1dcdaf, 6e789e6aa1b965f4,
        // 06c45d188009454f, f88bb8a8724c81ec, 1b39896a51a8749b.
        let random = Random::from_seed(0);
        assert_eq!(random.uuid.to_string(), "e220a839-7b1d-4daf-ae78-9e6aa1b965f4");
        assert_eq!(random.generation, 0x8009_454f);
        assert_eq!(random.dx_seed, [0x724c_81ec, 0xf88b_b8a8, 0x51a8_749b]);
        assert_ne!(Random::from_seed(1), random);
    }

    #[test]
    fn fresh_ones_differ() {
        let (one, other) = (Random::fresh(), Random::fresh());
        assert_ne!(one.uuid, other.uuid);
        assert_ne!(one.dx_seed, other.dx_seed);
        assert_eq!(one.uuid.get_version_num(), 4);
    }
}
