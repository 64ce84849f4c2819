//! `--lan`: the applicants' page on this machine's address in the local network, so that a telephone can open it; and the link as a QR code in the terminal.
//!
//! Plain HTTP, because no certificate names such an address: whoever listens in that network reads what is dropped. So it is for the demo alone, for private addresses alone,
//! and the console stays on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use fast_qr::{ECL, QRBuilder};

use crate::cli::output::{Failure, Outcome};

/// What `--lan` means without an address.
pub(super) const AUTO: &str = "auto";
/// Light modules around a code, which scanners need.
const QUIET: usize = 3;

/// The address to listen on: the given one, or that of the interface by which this machine reaches others.
pub(super) fn address(given: &str) -> Outcome<IpAddr> {
    let address = match given {
        AUTO => outward().ok_or_else(|| {
            Failure::new("this machine has no address in a network; connect it, or name one of its addresses: --lan 192.168.1.20")
        })?,
        given => given.parse().map_err(|_| {
            Failure::new(format!(
                "--lan takes one of this machine's IP addresses, such as 192.168.1.20, not {given:?}"
            ))
        })?,
    };
    match is_private(address) {
        true => Ok(address),
        false => Err(Failure::new(format!(
            "{address} is no address of a private network: without TLS the demo is not opened to the internet. Name another address: --lan 192.168.1.20"
        ))),
    }
}

/// Asks the system for the way out; nothing is sent.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).ok()?;
    // An address of the documentation, which nobody has.
    socket.connect(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9))).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}

/// Of this machine, or of a network that routers of the internet do not carry; carriers' shared addresses are not among them.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_documentation(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// The text as a QR code of half blocks, two rows of modules in each line. `colour`: black on white whatever the terminal's colours are; without it light modules are
/// drawn, which is right on a dark terminal.
pub(super) fn qr(text: &str, colour: bool) -> Outcome<String> {
    let code = QRBuilder::new(text)
        .ecl(ECL::L)
        .build()
        .map_err(|_| Failure::new("the link does not fit a QR code"))?;
    let size = code.size;
    let dark = |row: usize, column: usize| {
        let inside = |at: usize| (QUIET..QUIET + size).contains(&at);
        inside(row) && inside(column) && code[row - QUIET][column - QUIET].value()
    };
    let whole = size + 2 * QUIET;
    let mut drawn = String::new();
    for row in (0..whole).step_by(2) {
        drawn.push_str(if colour { "  \x1b[30;107m" } else { "  " });
        for column in 0..whole {
            let ink = |row: usize| dark(row, column) == colour && row < whole;
            drawn.push(match (ink(row), ink(row + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawn.push_str(if colour { "\x1b[0m\n" } else { "\n" });
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_private_networks_are_opened_without_tls() {
        for good in [
            "192.168.1.20",
            "10.1.2.3",
            "172.16.0.1",
            "169.254.3.4",
            "192.0.2.2",
            "127.0.0.1",
            "fd00::1",
        ] {
            assert_eq!(address(good).unwrap().to_string(), good);
        }
        for bad in [
            "93.184.216.34",
            "172.32.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "2001:db8::1",
            "::",
            "my-laptop",
            "",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_code_is_the_librarys_with_light_around_it() {
        let code = QRBuilder::new("http://192.168.1.20:8080/d/x").ecl(ECL::L).build().unwrap();
        for (colour, light, dark) in [(true, ' ', '█'), (false, '█', ' ')] {
            let drawn = qr("http://192.168.1.20:8080/d/x", colour).unwrap();
            let rows: Vec<Vec<char>> = drawn
                .lines()
                .map(|l| l.replace("\x1b[30;107m", "").replace("\x1b[0m", "").chars().skip(2).collect())
                .collect();
            assert!(rows.iter().all(|row| row.len() == code.size + 2 * QUIET));
            assert!(rows[0].iter().all(|c| *c == light), "{drawn}");
            // A finder pattern: its first column is dark over seven modules.
            let upper = |row: usize, column: usize| {
                let (line, first) = (row / 2, row.is_multiple_of(2));
                let ink = match rows[line][column] {
                    '█' => true,
                    '▀' => first,
                    '▄' => !first,
                    _ => false,
                };
                ink == (dark == '█')
            };
            for row in 0..code.size {
                for column in 0..code.size {
                    assert_eq!(upper(row + QUIET, column + QUIET), code[row][column].value(), "{row} {column}");
                }
            }
        }
    }
}
