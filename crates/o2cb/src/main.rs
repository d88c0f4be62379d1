//! `o2cb`.

fn main() -> std::process::ExitCode {
    ocfs2_o2cb::main()
}
