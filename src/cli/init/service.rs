//! `nightdrop init --systemd`: what root types to have the portal run as a service, as one script. It is printed and not done: whoever installs a service reads first what it does.

const UNIT: &str = include_str!("../../../assets/nightdrop.service");
const USER: &str = include_str!("../../../assets/nightdrop.sysusers");

/// A script that can run again: what is there stays.
pub(super) fn script(program: &str) -> String {
    format!(
        r#"#!/bin/sh
# Runs nightdrop as a service of systemd: its user, its folder, the unit, the portal itself, the start. Run it as root; its arguments go to `nightdrop init`.
set -eu
[ "$(id -u)" = 0 ] || {{ echo "run this as root" >&2; exit 1; }}
# The program, where the unit looks for it.
[ /usr/local/bin/nightdrop -ef {program} ] || install -m 0755 {program} /usr/local/bin/nightdrop
# The user, without a shell and a password.
mkdir -p /usr/lib/sysusers.d
cat >/usr/lib/sysusers.d/nightdrop.conf <<'END'
{USER}END
systemd-sysusers /usr/lib/sysusers.d/nightdrop.conf
install -d -o nightdrop -g nightdrop -m 0700 /var/lib/nightdrop
# The unit. What is to be otherwise goes to a drop-in: systemctl edit nightdrop
cat >/etc/systemd/system/nightdrop.service <<'END'
{UNIT}END
# The portal, unless there is one: configuration, keys, store and the first admin.
if [ ! -e /var/lib/nightdrop/nightdrop.toml ]; then
  cd /var/lib/nightdrop
  setpriv --reuid=nightdrop --regid=nightdrop --init-groups /usr/local/bin/nightdrop init --data-dir /var/lib/nightdrop "$@"
fi
systemctl daemon-reload
systemctl enable --now nightdrop
echo "nightdrop runs: systemctl status nightdrop, journalctl -u nightdrop"
"#,
        program = quoted(program)
    )
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
