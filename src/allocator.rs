//! The program's allocator, and how it holds on to memory. No part of the library: who links that chooses an own one.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, the same number in versions 2 and 3.
const PURGE_DELAY: i32 = 15;

/// Freed memory goes back to the system after ten seconds and not after a hundredth of one: segments and column buffers of some
/// megabytes come and go all the time, and clearing fresh pages for each cost a quarter of the CPU time of a run. Beyond the
/// budget it goes back sooner ([`give_back`]).
const PURGE_DELAY_MS: std::ffi::c_long = 10_000;

/// To be called first.
pub fn set_up() {
    // The allocator asks for huge pages (2 MiB), of which the first byte that is touched costs all: a quarter of the program's
    // memory was never used, and where the host of a virtual machine has to give it first, it is what a run waits for. Where
    // they cannot be refused, nothing but memory is lost.
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
    #[expect(
        unsafe_code,
        reason = "the allocator's options have no safe form; setting one has no precondition"
    )]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
    }
}

/// Gives the system all memory that is free.
pub fn give_back() {
    #[expect(
        unsafe_code,
        reason = "the allocator's collection has no safe form; it has no precondition"
    )]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
