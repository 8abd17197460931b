//! The program: everything is in the library's `cli`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, the same number in versions 2 and 3.
const PURGE_DELAY: i32 = 15;

/// Freed memory goes back to the system after ten seconds and not after a hundredth of one: segments and column buffers of some
/// megabytes come and go all the time, and clearing fresh pages for each cost a quarter of the CPU time of a run. Beyond the
/// budget it goes back sooner ([`give_back`]).
const PURGE_DELAY_MS: std::ffi::c_long = 10_000;

fn main() -> std::process::ExitCode {
    #[expect(
        unsafe_code,
        reason = "the allocator's options have no safe form; setting one has no precondition"
    )]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
    }
    lakeward::cli::main(give_back).into()
}

/// Gives the system all memory that is free.
fn give_back() {
    #[expect(
        unsafe_code,
        reason = "the allocator's collection has no safe form; it has no precondition"
    )]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
