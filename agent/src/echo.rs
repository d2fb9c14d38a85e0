//! The probe line protocol, over TCP and UDP.
//!
//! A line comes in, the same line goes out with ` from ` and the sender's address as it was seen here:
//!
//! ```text
//! → probe a1
//! ← probe a1 from 10.1.1.2
//! → beat 17
//! ← beat 17 from 10.1.1.2
//! ```
//!
//! Over TCP any number of lines go over one connection (held connections send numbered `beat`s); over UDP each datagram is
//! a line, and its newline may be left out. What stands in a line is the sender's affair, up to [`LONGEST`] bytes; over UDP
//! as many as a datagram has.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};

/// Bytes of the longest line over TCP, its newline included; a longer one over UDP is a probe's of that size.
pub(crate) const LONGEST: usize = 1024;
/// Bytes of the longest datagram that there is.
const LONGEST_DATAGRAM: usize = 65_535;

/// The answer to a line, without newline.
pub(crate) fn answer(line: &str, source: IpAddr) -> String {
    format!("{line} from {}", source.to_canonical())
}

/// The source address in an answer, if it is the answer to this line.
pub(crate) fn source_seen(answer: &str, line: &str) -> Option<IpAddr> {
    answer.trim_end().strip_prefix(line)?.strip_prefix(" from ")?.parse().ok()
}

/// Echoes lines until the peer is done; ends the connection at a line that is too long.
pub(crate) async fn serve_tcp(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::with_capacity(LONGEST, read);
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut read).take(LONGEST as u64).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let mut out = answer(text.trim_end_matches(['\n', '\r']), peer.ip());
        out.push('\n');
        write.write_all(out.as_bytes()).await?;
    }
}

/// Echoes datagrams for as long as the socket lives.
pub(crate) async fn serve_udp(socket: UdpSocket) {
    let mut datagram = vec![0; LONGEST_DATAGRAM];
    loop {
        // Errors here are ICMP errors to earlier answers: they concern a peer that has gone, not the socket.
        let Ok((len, peer)) = socket.recv_from(&mut datagram).await else { continue };
        let text = String::from_utf8_lossy(&datagram[..len]);
        let mut out = answer(text.trim_end_matches(['\n', '\r']), peer.ip());
        out.push('\n');
        // An answer that cannot be sent, or is too large for a datagram, is a lost one, which the prober sees.
        let _ = socket.send_to(out.as_bytes(), peer).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back_only_for_its_own_line() {
        let source: IpAddr = "10.1.1.2".parse().unwrap();
        let text = answer("probe a1", source);
        assert_eq!(text, "probe a1 from 10.1.1.2");
        assert_eq!(source_seen(&text, "probe a1"), Some(source));
        assert_eq!(source_seen("probe a1 from 10.1.1.2\n", "probe a1"), Some(source));
        assert_eq!(source_seen(&text, "probe a"), None);
        assert_eq!(source_seen("probe a1 from somewhere", "probe a1"), None);
    }

    #[test]
    fn a_mapped_address_is_told_as_ipv4() {
        assert_eq!(answer("x", "::ffff:10.0.0.1".parse().unwrap()), "x from 10.0.0.1");
    }
}
