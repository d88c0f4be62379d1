//! `populate IMAGE FILES [FILES_PER_FOLDER [aged]]`: makes a volume with many files in a new sparse
//! file, for trying out programs.

use std::path::Path;

use anyhow::{Context, Result};
use ocfs2_testing::populate::{FILES_PER_FOLDER, Tree, populate};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: populate IMAGE FILES [FILES_PER_FOLDER [aged]]";
    let image = arguments.next().context(usage)?;
    let files = arguments.next().context(usage)?.parse().context(usage)?;
    let per_folder = arguments.next().map(|number| number.parse()).transpose().context(usage)?;
    let files_per_folder = per_folder.unwrap_or(FILES_PER_FOLDER);
    let aged = arguments.next().is_some_and(|word| word == "aged");
    populate(Path::new(&image), Tree { files, files_per_folder, indexed: true, aged });
    Ok(())
}
