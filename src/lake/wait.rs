//! Waiting within the asynchronous calls of a lake, which a simulation lets happen in its own time.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::threads::turns;

/// In a simulation nothing answers later; something that all the same is not ready is asked again after this time.
const AGAIN: Duration = Duration::from_millis(1);

/// Runs asynchronous work to its end on the calling thread.
pub(super) fn block_on<T>(runtime: &Handle, work: impl Future<Output = T>) -> T {
    let Some(turns) = turns() else {
        return runtime.block_on(work);
    };
    let mut work = pin!(work);
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
        turns.wait(&mut || false, Some(AGAIN));
    }
}

/// Lets this time pass.
pub(super) async fn pause(time: Duration) {
    match turns() {
        Some(turns) => {
            turns.wait(&mut || false, Some(time));
        }
        None => tokio::time::sleep(time).await,
    }
}
