//! Journals that are made larger and smaller.

use ocfs2_format::journal::JournalIncompat;

use crate::bench::{Bench, FORMS};

#[test]
fn journals_get_the_size_and_the_width_that_were_asked_for() {
    for form in FORMS {
        let bench = Bench::new(form, "160M");
        for (options, slots, mib, block64) in [
            ("-J size=8M", 2, 8, false),
            ("-J size=12M,block64", 2, 12, true),
            ("-J size=5M -N 4", 4, 5, true),
            ("-N 5", 5, 5, true),
            ("-J block32,size=7M", 5, 7, false),
            ("-J size=0,block64", 5, 7, true),
        ] {
            bench.done(options);
            let what = format!("{form} {options}");
            bench.judge(&what);
            let volume = bench.volume();
            assert_eq!(volume.max_slots(), slots);
            for slot in 0..slots {
                let journal = volume.journal(slot).unwrap();
                assert_eq!(journal.inode.size(), mib << 20, "{what}");
                let blocks = volume.geometry().blocks_for(mib << 20);
                assert_eq!(u64::from(journal.superblock.s_maxlen), blocks, "{what}");
                let wide = journal.superblock.incompat().contains(JournalIncompat::BIT64);
                assert_eq!(wide, block64, "{what}");
            }
        }
    }
}
