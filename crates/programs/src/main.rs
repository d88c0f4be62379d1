//! `ocfs2`.

fn main() -> std::process::ExitCode {
    ocfs2_programs::main()
}
