//! What the application sees of a session: the variables `SSL_*`, with mod_ssl's names. They are
//! made once for each connection.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::CommonState;
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

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
    // `Display` of a name is RFC 4514.
    variables.push(("SSL_CLIENT_S_DN", body.subject.to_string()));
    variables.push(("SSL_CLIENT_I_DN", body.issuer.to_string()));
    variables.push(("SSL_CLIENT_M_SERIAL", serial(body.serial_number.as_bytes())));
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
    fn lines_of_pem_have_64_characters() {
        let pem = pem(&[0xff; 60]);
        let lines: Vec<_> = pem.lines().map(str::len).collect();
        assert_eq!(lines, [27, 64, 16, 25]);
        assert!(pem.ends_with("-----\n"));
    }
}
