//! The codec: what is written is read back, and nothing that a peer sends makes it panic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pgpooler_core::wire::{
    CancelKey, ErrorFields, ErrorResponse, Header, ProtocolVersion, ReadError, Reader, SqlState,
    StartupPacket, StartupPacketError, TransactionStatus, backend, frontend, split_message,
};
use proptest::prelude::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(&mut out);
    out.split_off(6)
}

fn startup(packet: &[u8]) -> Result<Option<(StartupPacket, usize)>, StartupPacketError> {
    StartupPacket::parse(packet)
}

/// A startup packet of this body.
fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32 + 8;
    [&length.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

#[test]
fn messages_have_the_bytes_of_the_protocol_chapter() {
    let cases: [(Vec<u8>, &[u8]); 17] = [
        (written(|out| backend::ready_for_query(out, TransactionStatus::Failed)), b"Z\0\0\0\x05E"),
        (written(backend::parse_complete), b"1\0\0\0\x04"),
        (written(backend::bind_complete), b"2\0\0\0\x04"),
        (written(backend::close_complete), b"3\0\0\0\x04"),
        (written(backend::empty_query_response), b"I\0\0\0\x04"),
        (written(backend::authentication_ok), b"R\0\0\0\x08\0\0\0\0"),
        (written(|out| backend::authentication_md5_password(out, *b"salt")), b"R\0\0\0\x0c\0\0\0\x05salt"),
        (written(|out| backend::authentication_sasl(out, &["A"])), b"R\0\0\0\x0b\0\0\0\x0aA\0\0"),
        (written(|out| backend::authentication_sasl_final(out, b"x")), b"R\0\0\0\x09\0\0\0\x0cx"),
        (written(|out| backend::parameter_status(out, "a", "b")), b"S\0\0\0\x08a\0b\0"),
        (written(|out| backend::command_complete(out, "SHOW")), b"C\0\0\0\x09SHOW\0"),
        (
            written(|out| backend::data_row(out, &[Some("x"), None])),
            b"D\0\0\0\x0f\0\x02\0\0\0\x01x\xff\xff\xff\xff",
        ),
        (written(|out| frontend::query(out, "x")), b"Q\0\0\0\x06x\0"),
        (written(|out| frontend::parse(out, "s", "q", &[23])), b"P\0\0\0\x0es\0q\0\0\x01\0\0\0\x17"),
        (written(|out| frontend::close_statement(out, "s")), b"C\0\0\0\x07Ss\0"),
        (written(|out| frontend::sasl_initial_response(out, "M", b"ab")), b"p\0\0\0\x0cM\0\0\0\0\x02ab"),
        (written(frontend::ssl_request), b"\0\0\0\x08\x04\xd2\x16\x2f"),
    ];
    for (written, expected) in cases {
        assert_eq!(written, expected);
    }
}

#[test]
fn a_row_description_is_of_text_columns() {
    let row = written(|out| backend::row_description(out, &["id"]));
    assert_eq!(row, b"T\0\0\0\x1b\0\x01id\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
}

#[test]
fn protocol_negotiation_names_the_whole_version() {
    let message = written(|out| backend::negotiate_protocol_version(out, 2, &["_pq_.x".to_owned()]));
    assert_eq!(message, b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0");
}

#[test]
fn a_string_with_a_zero_byte_ends_there() {
    assert_eq!(written(|out| frontend::query(out, "a\0b")), b"Q\0\0\0\x06a\0");
}

#[test]
fn startup_packets_are_told_apart() {
    let of = |packet: Vec<u8>| startup(&packet).unwrap().unwrap().0;
    assert_eq!(of(written(frontend::ssl_request)), StartupPacket::SslRequest);
    assert_eq!(of(written(frontend::gssenc_request)), StartupPacket::GssencRequest);
    let key = CancelKey::new(-7, b"0123456789").unwrap();
    assert_eq!(of(written(|out| frontend::cancel_request(out, &key))), StartupPacket::CancelRequest(key));
    let parameters = [("user", "ann"), ("database", "")];
    let StartupPacket::StartupMessage(message) =
        of(written(|out| frontend::startup_message(out, 2, parameters)))
    else {
        panic!("no StartupMessage")
    };
    assert_eq!(message.version, ProtocolVersion { major: 3, minor: 2 });
    assert_eq!(message.parameters(), Ok(parameters.to_vec()));
}

#[test]
fn a_startup_length_out_of_bounds_is_refused_as_soon_as_it_is_there() {
    for length in [0, 4, 7, 10_001, u32::MAX, 0x1603_0102] {
        assert_eq!(startup(&length.to_be_bytes()), Err(StartupPacketError::Length(length)));
    }
    assert_eq!(startup(&8u32.to_be_bytes()), Ok(None));
    assert_eq!(startup(&10_000u32.to_be_bytes()), Ok(None));
    assert_eq!(startup(b"\0\0"), Ok(None));
}

#[test]
fn requests_without_parameters_have_exactly_eight_bytes() {
    assert_eq!(startup(&packet(0x04d2_162f, b"x")), Err(StartupPacketError::Length(9)));
    assert_eq!(startup(&packet(0x04d2_1630, b"xy")), Err(StartupPacketError::Length(10)));
}

#[test]
fn a_cancel_key_has_at_most_two_hundred_and_fifty_six_bytes() {
    let parsed = |length: usize| startup(&packet(0x04d2_162e, &vec![1; 4 + length]));
    assert!(parsed(4).is_ok());
    assert!(parsed(256).is_ok());
    assert!(matches!(parsed(3), Err(StartupPacketError::CancelKey(_))));
    assert!(matches!(parsed(257), Err(StartupPacketError::CancelKey(_))));
}

#[test]
fn startup_parameters_end_with_the_terminator_and_nothing_behind_it() {
    let parameters = |body: &[u8]| match startup(&packet(3 << 16, body)).unwrap().unwrap().0 {
        StartupPacket::StartupMessage(message) => message.parameters().map(|pairs| pairs.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(parameters(b"user\0a\0\0"), Ok(1));
    assert_eq!(parameters(b"\0"), Ok(0));
    assert_eq!(parameters(b"user\0a\0\0x"), Err(ReadError::Trailing));
    assert_eq!(parameters(b"user\0a\0"), Err(ReadError::Unterminated));
    assert_eq!(parameters(b"user\0"), Err(ReadError::Unterminated));
    assert_eq!(parameters(b""), Err(ReadError::Unterminated));
    assert_eq!(parameters(b"user\0\xff\0\0"), Err(ReadError::NotUtf8));
}

#[test]
fn a_reader_never_goes_beyond_the_end() {
    let mut reader = Reader::new(b"\x01\0\x02ab\0c");
    assert_eq!((reader.u8(), reader.i16(), reader.string()), (Ok(1), Ok(2), Ok(&b"ab"[..])));
    assert_eq!(reader.i32(), Err(ReadError::Truncated));
    assert_eq!(reader.bytes(2), Err(ReadError::Truncated));
    assert_eq!(reader.string(), Err(ReadError::Unterminated));
    assert_eq!((reader.rest(), reader.finish()), (&b"c"[..], Err(ReadError::Trailing)));
}

proptest! {
    #[test]
    fn an_error_that_we_write_is_read_back(message in "[^\0]*", detail in "[^\0]*") {
        let bytes = ErrorResponse::error(SqlState::QUERY_CANCELED, message.clone()).detail(detail.clone()).to_bytes();
        let (header, body, rest) = split_message(&bytes, u32::MAX).unwrap().unwrap();
        prop_assert_eq!((header.tag, header.total(), rest.len()), (b'E', bytes.len(), 0));
        let fields = ErrorFields::parse(body).unwrap();
        prop_assert_eq!(fields.field(b'M'), Some(message.as_bytes()));
        prop_assert_eq!(fields.field(b'D'), Some(detail.as_bytes()));
        let mut copy = Vec::new();
        fields.copy(&mut copy);
        prop_assert_eq!(copy, bytes);
    }

    #[test]
    fn a_startup_message_is_read_back(pairs in prop::collection::vec(("[^\0]{1,10}", "[^\0]{0,10}"), 0..5)) {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let bytes = written(|out| frontend::startup_message(out, 0, pairs.iter().copied()));
        let (packet, length) = startup(&bytes).unwrap().unwrap();
        prop_assert_eq!(length, bytes.len());
        let StartupPacket::StartupMessage(message) = packet else { panic!("{packet:?}") };
        prop_assert_eq!(message.parameters(), Ok(pairs));
    }

    #[test]
    fn no_bytes_make_the_codec_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Header::parse(&bytes);
        let _ = split_message(&bytes, 10_000);
        let _ = ErrorFields::parse(&bytes).map(|fields| (fields.sqlstate(), fields.message().len()));
        let _ = backend::parse_parameter_status(&bytes);
        let _ = startup(&bytes);
        let _ = startup(&packet(3 << 16, &bytes));
    }
}
