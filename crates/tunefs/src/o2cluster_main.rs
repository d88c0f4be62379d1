//! `o2cluster`.

fn main() -> std::process::ExitCode {
    ocfs2_tunefs::o2cluster::main()
}
