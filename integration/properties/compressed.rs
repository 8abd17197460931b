//! Compressed files that lie: cut off, changed, followed by something else, and headers that ask for more memory than there is.

use std::io::Write;

use flate2::Crc;
use lakeward::format::Compression;
use lakeward::format::decompress::RawInput;
use proptest::prelude::*;

use crate::properties::unpack::{ASKED, End, hold, unpack};

fn text(lines: usize) -> Vec<u8> {
    (0..lines)
        .flat_map(|i| format!("{{\"id\":{i}}}\n").into_bytes())
        .collect()
}

pub fn pack(kind: Compression, plain: &[u8]) -> Vec<u8> {
    match kind {
        Compression::None | Compression::Auto => plain.to_vec(),
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(plain, 1).unwrap(),
        Compression::Bzip2 => {
            let mut encoder =
                bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// As what it is asked to be read, by its number in `ASKED`, and the file.
fn input(asked: usize, file: &[u8]) -> Vec<u8> {
    [&[asked as u8], file].concat()
}

fn end(asked: Compression, file: &[u8]) -> End {
    unpack(RawInput::whole(file.to_vec(), true), asked).end
}

#[track_caller]
fn refused(asked: Compression, what: &str, file: &[u8]) {
    for asked in [asked, Compression::Auto] {
        let end = end(asked, file);
        assert!(matches!(end, End::Torn(_)), "{what}: {end:?}");
    }
    hold(&input(0, file));
}

/// The most that this process ever held, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes >> 10
}

/// A window of 128 MiB is allowed (zstd's largest without a word from whoever unpacks), and a few threads test here at once.
const PEAK_MIB: u64 = 600;

#[test]
fn cut_at_every_byte_with_any_tail_nothing_is_made_up() {
    let plain = text(40);
    for (number, kind) in ASKED.into_iter().enumerate().skip(2) {
        let file = pack(kind, &plain);
        for cut in 0..file.len() {
            for tail in [
                &b""[..],
                b"\0",
                b"\n{\"id\":9}\n",
                &file[..cut],
                &[0xff; 40],
            ] {
                let bytes = [&file[..cut], tail].concat();
                for asked in [0, number] {
                    hold(&input(asked, &bytes));
                }
                let unpacked = unpack(RawInput::whole(file[..cut].to_vec(), true), kind);
                assert!(plain.starts_with(&unpacked.bytes), "{kind:?} cut at {cut}");
                assert!(
                    cut == 0 || unpacked.end != End::Whole,
                    "{kind:?} cut at {cut}"
                );
            }
        }
    }
}

#[test]
fn whatever_stands_after_the_end_takes_nothing_from_what_stands_before() {
    let plain = text(40);
    for kind in ASKED.into_iter().skip(2) {
        for tail in [
            &b"x"[..],
            b"{\"id\":1}\n",
            &[0x1f, 0x8b],
            &[0x28, 0xb5, 0x2f, 0xfd, 0xff],
        ] {
            let file = [&pack(kind, &plain)[..], tail].concat();
            let unpacked = unpack(RawInput::whole(file.clone(), true), Compression::Auto);
            assert_eq!(unpacked.bytes, plain, "{kind:?}");
            assert!(matches!(unpacked.end, End::Torn(_)), "{kind:?}");
            hold(&input(0, &file));
        }
    }
}

#[test]
fn a_bomb_is_unpacked_piece_by_piece() {
    let zeros = vec![0; 32 << 20];
    for (number, kind) in ASKED.into_iter().enumerate().skip(2) {
        let bomb = pack(kind, &zeros);
        assert_eq!(end(kind, &bomb), End::More, "{kind:?}");
        hold(&input(number, &bomb));
    }
    assert!(peak() < PEAK_MIB, "{} MiB", peak());
}

/// A zstd frame whose header asks for a window of this exponent and mantissa.
fn zstd_window(descriptor: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, descriptor];
    // One raw block, the last, of two bytes.
    frame.extend([0x11, 0x00, 0x00, b'{', b'}']);
    frame
}

#[test]
fn a_zstd_window_beyond_the_limit_is_refused_whatever_the_header_says() {
    for descriptor in 0..=255 {
        let file = zstd_window(descriptor);
        let log = 10 + (descriptor >> 3);
        if log > 27 || (log == 27 && descriptor & 7 > 0) {
            refused(Compression::Zstd, &format!("window {descriptor:#x}"), &file);
        } else {
            assert_eq!(end(Compression::Zstd, &file), End::Whole, "{descriptor:#x}");
        }
    }
    // A single segment: the window is the content, which is said to be huge.
    for size in [1 << 28, 1 << 40, u64::MAX] {
        let head = [
            &[0x28, 0xb5, 0x2f, 0xfd, 0b1110_0000][..],
            &u64::to_le_bytes(size),
        ]
        .concat();
        let file = [&head[..], &[0x11, 0x00, 0x00, b'{', b'}']].concat();
        refused(Compression::Zstd, &format!("content of {size}"), &file);
    }
    assert!(peak() < PEAK_MIB, "{} MiB", peak());
}

/// The dictionary size of an xz file's first block exchanged; the header's checksum is right again.
fn xz_dictionary(size: u8) -> Vec<u8> {
    let mut file = pack(Compression::Xz, &text(10));
    // The stream's header has 12 bytes; then: length, flags, the filter's id (LZMA2), the length of its properties, they.
    assert_eq!(file[12 + 2..12 + 4], [0x21, 0x01]);
    file[12 + 4] = size;
    let length = (usize::from(file[12]) + 1) * 4;
    let mut crc = Crc::new();
    crc.update(&file[12..12 + length - 4]);
    let at = 12 + length - 4;
    file[at..at + 4].copy_from_slice(&crc.sum().to_le_bytes());
    file
}

#[test]
fn an_xz_dictionary_beyond_the_limit_is_refused() {
    assert_eq!(end(Compression::Xz, &xz_dictionary(0)), End::Whole);
    for size in 0..=255 {
        let file = xz_dictionary(size);
        // 2^(n/2 + 12), or half as much again.
        if size >= 32 {
            refused(Compression::Xz, &format!("dictionary {size}"), &file);
        } else {
            hold(&input(5, &file));
        }
    }
    assert!(peak() < PEAK_MIB, "{} MiB", peak());
}

/// XXH32 of fewer than 16 bytes, which lz4 headers end with.
fn xxh32(bytes: &[u8]) -> u32 {
    let mut hash = 0x1656_67b1_u32.wrapping_add(bytes.len() as u32);
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes(word.try_into().unwrap());
        hash = hash.wrapping_add(word.wrapping_mul(0xc2b2_ae3d));
        hash = hash.rotate_left(17).wrapping_mul(0x27d4_eb2f);
    }
    for byte in words.remainder() {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(0x1656_67b1));
        hash = hash.rotate_left(11).wrapping_mul(0x9e37_79b1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x85eb_ca77);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae3d);
    hash ^ (hash >> 16)
}

#[test]
fn other_headers_that_promise_too_much_take_no_memory() {
    // lz4: blocks of 4 MiB and a content of an exabyte, then a block of two gigabytes that is not there.
    for flags in [0x40, 0x48, 0x60, 0x68, 0x4c, 0x7d] {
        for descriptor in [0x40, 0x70] {
            let mut frame = vec![0x04, 0x22, 0x4d, 0x18, flags, descriptor];
            if flags & 8 != 0 {
                frame.extend((1_u64 << 60).to_le_bytes());
            }
            let hash = xxh32(&frame[4..]);
            frame.push((hash >> 8) as u8);
            frame.extend(0x7fff_fff0_u32.to_le_bytes());
            frame.extend(b"short");
            refused(Compression::Lz4, &format!("flags {flags:#x}"), &frame);
        }
    }
    // gzip: a name, a comment or an extra field that never ends.
    for (flag, filler) in [(0x08, 1), (0x10, 1), (0x04, 0xff)] {
        let mut file = vec![0x1f, 0x8b, 8, flag, 0, 0, 0, 0, 0, 3];
        file.resize(64 << 20, filler);
        let started = peak();
        refused(Compression::Gzip, &format!("flags {flag:#x}"), &file);
        assert!(peak() < started + 300, "{} MiB", peak());
    }
    // bzip2: a block that says that its origin lies beyond it, and a block of zeros.
    for rest in [[0xff; 40], [0; 40]] {
        let file = [&b"BZh9\x31\x41\x59\x26\x53\x59"[..], &rest].concat();
        refused(Compression::Bzip2, "a block of nothing", &file);
    }
}

fn any_kind() -> impl Strategy<Value = (usize, Vec<u8>)> {
    (1..ASKED.len(), 0_usize..60).prop_map(|(number, lines)| {
        let plain = text(lines);
        (number, pack(ASKED[number], &plain))
    })
}

proptest! {
    #![proptest_config(crate::cases(400))]

    #[test]
    fn changed_anywhere_it_is_read_alike_in_any_pieces(
        (number, mut file) in any_kind(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        insert in prop::collection::vec(any::<u8>(), 0..6),
        at in any::<prop::sample::Index>(),
        auto in any::<bool>(),
    ) {
        for (at, byte) in changes {
            if !file.is_empty() {
                let at = at.index(file.len());
                file[at] = byte;
            }
        }
        let at = at.index(file.len() + 1);
        file.splice(at..at, insert);
        hold(&input(if auto { 0 } else { number }, &file));
    }

    #[test]
    fn bytes_without_sense_are_read_alike_in_any_pieces(
        asked in 0..ASKED.len(),
        magic in prop::sample::select(vec![
            &b""[..], b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"\x50\x2a\x4d\x18",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        hold(&input(asked, &[magic, &rest].concat()));
    }
}
