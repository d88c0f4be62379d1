//! `ocfs2-fuse`.

fn main() -> std::process::ExitCode {
    ocfs2_fuse::main()
}
