//! What the application sees of a session: the variables `SSL_*`, with mod_ssl's names. They are
//! made once for each connection.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::CommonState;
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::Decode as _;
use x509_cert::name::{Name, RelativeDistinguishedName};

/// An item of the environ.
pub type Variable = (&'static str, String);

/// The variables of a session whose handshake is complete, for the server of this name.
pub(super) fn variables(session: &CommonState, server_name: Option<String>) -> Arc<[Variable]> {
    let mut variables = Vec::new();
    if let Some(version) = session.protocol_version() {
        let text = match version {
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
            rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
            other => format!("{other:?}"),
        };
        variables.push(("SSL_PROTOCOL", text));
    }
    if let Some(suite) = session.negotiated_cipher_suite() {
        // rustls calls TLS_AES_128_GCM_SHA256 of TLS 1.3 TLS13_AES_128_GCM_SHA256.
        let name = format!("{:?}", suite.suite());
        let iana = name.strip_prefix("TLS13_").map(|rest| format!("TLS_{rest}"));
        variables.push(("SSL_CIPHER", iana.unwrap_or(name)));
    }
    if let Some(name) = server_name {
        variables.push(("SSL_TLS_SNI", name));
    }
    match session.peer_certificates().and_then(|chain| chain.first()) {
        Some(certificate) => {
            variables.push(("SSL_CLIENT_VERIFY", "SUCCESS".to_owned()));
            add_certificate(&mut variables, certificate);
        }
        None => variables.push(("SSL_CLIENT_VERIFY", "NONE".to_owned())),
    }
    variables.into()
}

/// The variables of a client's certificate, which was verified.
fn add_certificate(variables: &mut Vec<Variable>, certificate: &CertificateDer<'_>) {
    variables.push(("SSL_CLIENT_CERT", pem(certificate)));
    // The verifier has parsed it too, but is no parser of names.
    let Ok(parsed) = Certificate::from_der(certificate) else { return };
    let body = &parsed.tbs_certificate;
    variables.push(("SSL_CLIENT_S_DN", distinguished_name(&body.subject)));
    variables.push(("SSL_CLIENT_I_DN", distinguished_name(&body.issuer)));
    variables.push(("SSL_CLIENT_M_SERIAL", serial(body.serial_number.as_bytes())));
}

/// A name, the last component first. [RFC 4514 section 2]
fn distinguished_name(name: &Name) -> String {
    let component = |component: &RelativeDistinguishedName| {
        component.0.iter().map(attribute).collect::<Vec<_>>().join("+")
    };
    name.0.iter().rev().map(component).collect::<Vec<_>>().join(",")
}

/// A type and its value. x509-cert calls a mail address EMAIL; its descriptor is emailAddress [RFC
/// 2985 section 5.2.1], which mod_ssl, nginx and OpenSSL print, too.
fn attribute(attribute: &AttributeTypeAndValue) -> String {
    let text = attribute.to_string();
    match text.strip_prefix("EMAIL=") {
        Some(value) => format!("emailAddress={value}"),
        None => text,
    }
}

/// A number in upper-case hexadecimal digits, two for each byte, as mod_ssl prints it.
fn serial(bytes: &[u8]) -> String {
    // A leading zero byte only says that the number is positive. [X.690 section 8.3.3]
    let bytes = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    };
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// [RFC 7468]
fn pem(certificate: &[u8]) -> String {
    let encoded = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in encoded.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|&byte| char::from(byte)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_number_is_printed_as_by_mod_ssl() {
        for (bytes, expected) in
            [(&[0][..], "00"), (&[1], "01"), (&[0, 0xab, 0x0c], "AB0C"), (&[0x12, 0xff], "12FF")]
        {
            assert_eq!(serial(bytes), expected);
        }
    }

    #[test]
    fn name_is_printed_with_the_descriptors_of_the_rfcs() {
        // SEQUENCE { SET { C=DE }, SET { CN="EMAIL=a, b" }, SET { emailAddress=a@b } }
        let der = b"\x30\x33\
            \x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02DE\
            \x31\x13\x30\x11\x06\x03\x55\x04\x03\x0c\x0aEMAIL=a, b\
            \x31\x0f\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01\x16\x00";
        let name = Name::from_der(der).unwrap();
        assert_eq!(distinguished_name(&name), "emailAddress=,CN=EMAIL=a\\, b,C=DE");
    }

    #[test]
    fn lines_of_pem_have_64_characters() {
        let pem = pem(&[0xff; 60]);
        let lines: Vec<_> = pem.lines().map(str::len).collect();
        assert_eq!(lines, [27, 64, 16, 25]);
        assert!(pem.ends_with("-----\n"));
    }
}
