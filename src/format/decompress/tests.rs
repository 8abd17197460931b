use std::io::Write;

use super::*;

const KINDS: [Compression; 6] = [
    Compression::None,
    Compression::Gzip,
    Compression::Zstd,
    Compression::Bzip2,
    Compression::Xz,
    Compression::Lz4,
];

fn pack(compression: Compression, plain: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None | Compression::Auto => plain.to_vec(),
        Compression::Gzip => {
            let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            e.write_all(plain).unwrap();
            e.finish().unwrap()
        }
        Compression::Zstd => {
            let mut e = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            e.include_checksum(true).unwrap();
            e.write_all(plain).unwrap();
            e.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut e = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
            e.write_all(plain).unwrap();
            e.finish().unwrap()
        }
        Compression::Xz => {
            let mut e = liblzma::write::XzEncoder::new(Vec::new(), 1);
            e.write_all(plain).unwrap();
            e.finish().unwrap()
        }
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .content_checksum(true);
            let mut e = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            e.write_all(plain).unwrap();
            e.finish().unwrap()
        }
    }
}

struct Unpacked {
    bytes: Vec<u8>,
    fault: Option<Fault>,
    compression: Compression,
    fingerprint: Option<Digest>,
}

fn unpack_raw(raw: RawInput, compression: Compression) -> Unpacked {
    let mut d = Decompressor::new(raw, compression);
    let mut bytes = Vec::new();
    let fault = loop {
        match d.fill() {
            Ok([]) => break None,
            Ok(chunk) => bytes.extend_from_slice(chunk),
            Err(fault) => break Some(fault),
        }
    };
    Unpacked {
        bytes,
        fault,
        compression: d.compression(),
        fingerprint: d.fingerprint().ok().flatten(),
    }
}

fn unpack(file: &[u8], compression: Compression) -> Unpacked {
    let whole = unpack_raw(RawInput::whole(file.to_vec(), true), compression);
    let streamed = unpack_raw(
        RawInput::new(Box::new(io::Cursor::new(file.to_vec())), true),
        compression,
    );
    assert_eq!(whole.bytes, streamed.bytes);
    assert_eq!(whole.fault.is_some(), streamed.fault.is_some());
    assert_eq!(whole.fingerprint, streamed.fingerprint);
    assert_eq!(whole.fingerprint, Some(Digest::of(file)));
    whole
}

fn text(lines: usize) -> Vec<u8> {
    (0..lines)
        .flat_map(|i| format!("{{\"id\":{i}}}\n").into_bytes())
        .collect()
}

#[test]
fn every_compression_comes_back_found_by_its_magic_bytes_or_fixed() {
    for plain in [text(0), text(1), text(60_000)] {
        for kind in KINDS {
            let file = pack(kind, &plain);
            for asked in [Compression::Auto, kind] {
                let got = unpack(&file, asked);
                assert!(got.fault.is_none(), "{kind:?} {:?}", got.fault);
                assert_eq!(got.bytes, plain);
                assert_eq!(got.compression, kind);
            }
        }
    }
}

#[test]
fn several_streams_with_padding_are_one_file() {
    let plain = text(1000);
    for kind in KINDS.into_iter().skip(1) {
        let one = pack(kind, &plain);
        let padding = vec![0; 300_000];
        let file = [&one[..], &one, &[0; 8], &one, &padding].concat();
        let got = unpack(&file, Compression::Auto);
        assert!(got.fault.is_none(), "{kind:?} {:?}", got.fault);
        assert_eq!(got.bytes, [&plain[..], &plain, &plain].concat());
    }
}

#[test]
fn skippable_frames_are_passed_over() {
    let plain = text(10);
    let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"stuff"].concat();
    for kind in [Compression::Zstd, Compression::Lz4] {
        let one = pack(kind, &plain);
        for asked in [Compression::Auto, kind] {
            let file = [&skippable[..], &skippable, &one, &skippable, &one].concat();
            let got = unpack(&file, asked);
            assert!(got.fault.is_none(), "{kind:?} {:?}", got.fault);
            assert_eq!(got.bytes, [&plain[..], &plain].concat());
            assert_eq!(got.compression, kind);
            let cut = [&one[..], &skippable[..9]].concat();
            assert!(matches!(unpack(&cut, asked).fault, Some(Fault::Torn(_))));
        }
    }
}

#[test]
fn a_file_cut_off_at_any_byte_is_torn_and_gives_a_beginning() {
    let plain = text(400);
    for kind in KINDS.into_iter().skip(1) {
        let file = pack(kind, &plain);
        for cut in 2..file.len() {
            let got = unpack(&file[..cut], kind);
            assert!(
                matches!(got.fault, Some(Fault::Torn(_))),
                "{kind:?} cut at {cut}"
            );
            assert!(plain.starts_with(&got.bytes), "{kind:?} cut at {cut}");
            if kind != Compression::Bzip2 || cut >= 4 {
                let auto = unpack(&file[..cut], Compression::Auto);
                assert!(
                    matches!(auto.fault, Some(Fault::Torn(_))),
                    "{kind:?} cut at {cut}"
                );
            }
        }
    }
}

#[test]
fn every_whole_block_before_a_cut_is_handed_out() {
    let plain = text(100_000);
    for kind in [Compression::Gzip, Compression::Zstd, Compression::Lz4] {
        let file = pack(kind, &plain);
        let got = unpack(&file[..file.len() - 1], kind);
        assert!(
            got.bytes.len() * 10 > plain.len() * 9,
            "{kind:?} {}",
            got.bytes.len()
        );
    }
}

#[test]
fn a_flipped_bit_never_goes_by_in_silence() {
    let plain = text(400);
    for kind in KINDS.into_iter().skip(1) {
        let file = pack(kind, &plain);
        for at in (4..file.len()).step_by(3) {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            let got = unpack(&bad, kind);
            assert!(
                got.fault.is_some() || got.bytes == plain,
                "{kind:?} at {at}"
            );
        }
    }
}

#[test]
fn what_follows_a_stream_and_is_none_is_torn() {
    let plain = text(10);
    for kind in KINDS.into_iter().skip(1) {
        let file = [&pack(kind, &plain)[..], b"{\"id\":1}\n"].concat();
        let got = unpack(&file, Compression::Auto);
        assert_eq!(got.bytes, plain);
        assert!(matches!(got.fault, Some(Fault::Torn(_))), "{kind:?}");
    }
}

#[test]
fn only_one_layer_is_unpacked() {
    let inner = pack(Compression::Gzip, &text(10));
    for kind in KINDS.into_iter().skip(1) {
        assert_eq!(unpack(&pack(kind, &inner), Compression::Auto).bytes, inner);
    }
}

struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let file = pack(Compression::Gzip, &text(100_000));
        if self.0 >= 1000 {
            return Err(io::Error::other("disk on fire"));
        }
        let n = out.len().min(1000 - self.0);
        out[..n].copy_from_slice(&file[self.0..self.0 + n]);
        self.0 += n;
        Ok(n)
    }
}

#[test]
fn a_failing_disk_is_not_a_torn_file() {
    let got = unpack_raw(RawInput::new(Box::new(Failing(0)), true), Compression::Auto);
    assert!(matches!(got.fault, Some(Fault::Io(_))), "{:?}", got.fault);
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let mut e = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    e.window_log(28).unwrap();
    e.write_all(&text(10)).unwrap();
    let file = e.finish().unwrap();
    assert!(matches!(
        unpack(&file, Compression::Auto).fault,
        Some(Fault::Torn(_))
    ));
}
