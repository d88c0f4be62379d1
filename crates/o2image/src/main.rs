//! `o2image`.

fn main() -> std::process::ExitCode {
    ocfs2_o2image::main()
}
