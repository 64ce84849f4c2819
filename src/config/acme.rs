//! Which listeners get a certificate that the portal fetches, and for which names: what `[acme]`, `[listen]`, `public_url` and `staff_url` can only get wrong together.

use crate::http::acme::settings::{AcmeListener, AcmeSettings, DomainName};
use crate::http::settings::{ListenerSettings, ListenerTls};
use crate::settings::Reader;

/// A listener's address as people see it, and the listener.
type Named<'a, Url> = (Url, &'a mut ListenerSettings);

pub(super) fn fetch(reader: &mut Reader<'_>, acme: &AcmeSettings, public: Named<'_, &str>, staff: Named<'_, Option<&str>>) {
    for listener in &acme.listeners {
        let (key, url, settings) = match listener {
            // Where there is none, that is said already.
            AcmeListener::Public if public.0.is_empty() => continue,
            AcmeListener::Public => ("public_url", public.0, &mut *public.1),
            AcmeListener::Staff => match staff.0 {
                Some(url) => ("staff_url", url, &mut *staff.1),
                None => {
                    reader.is_needed(
                        "staff_url",
                        "acme.listeners names the staff listener, whose certificate is for this address",
                    );
                    continue;
                }
            },
        };
        if let ListenerTls::Files(_) = settings.tls {
            let name = listener.name();
            reader.error(
                &format!("listen.{name}_tls"),
                format!("must go while [acme] fetches the {name} listener's certificate; or take \"{name}\" out of acme.listeners"),
            );
            continue;
        }
        match DomainName::of_origin(url) {
            Ok(name) => settings.tls = ListenerTls::Acme(name),
            Err(why) => reader.error(key, why),
        }
    }
}
