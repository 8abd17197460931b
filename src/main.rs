//! The program: everything is in the library's `cli`.

mod allocator;

fn main() -> std::process::ExitCode {
    allocator::set_up();
    lakeward::cli::main(allocator::give_back).into()
}
