"use strict";
// Passkeys: fetches the options, asks the authenticator, and sends its answer with the form as any other field.
document.querySelectorAll("form[data-passkey]").forEach((form) => {
  if (!window.PublicKeyCredential) return;
  form.hidden = false;
  const fault = form.querySelector(".fault[role=alert]");
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0)).buffer;
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const say = (words) => { fault.textContent = words; fault.hidden = false; };
  const known = (list) => (list || []).map((entry) => ({ ...entry, id: bytes(entry.id) }));
  const make = async (options) => {
    const o = options.publicKey;
    const made = await navigator.credentials.create({
      publicKey: { ...o, challenge: bytes(o.challenge), user: { ...o.user, id: bytes(o.user.id) }, excludeCredentials: known(o.excludeCredentials) },
    });
    return { response: { attestationObject: text(made.response.attestationObject), clientDataJSON: text(made.response.clientDataJSON), transports: made.response.getTransports ? made.response.getTransports() : [] }, made };
  };
  const show = async (options) => {
    const o = options.publicKey;
    const made = await navigator.credentials.get({ publicKey: { ...o, challenge: bytes(o.challenge), allowCredentials: known(o.allowCredentials) } });
    const r = made.response;
    return { response: { authenticatorData: text(r.authenticatorData), clientDataJSON: text(r.clientDataJSON), signature: text(r.signature), userHandle: r.userHandle ? text(r.userHandle) : null }, made };
  };
  form.addEventListener("submit", async (event) => {
    if (form.elements.credential.value) return;
    event.preventDefault();
    fault.hidden = true;
    try {
      const answer = await fetch(form.dataset.passkey, { method: "POST" });
      if (answer.redirected) { location.assign(answer.url); return; }
      if (!answer.ok) { say("This is not possible now. Reload the page and try again."); return; }
      const { ceremony, options } = await answer.json();
      const { response, made } = await (form.dataset.make === undefined ? show(options) : make(options));
      const extensions = made.getClientExtensionResults ? made.getClientExtensionResults() : {};
      form.elements.ceremony.value = ceremony;
      form.elements.credential.value = JSON.stringify({ id: made.id, rawId: text(made.rawId), type: made.type, response, extensions });
      form.submit();
    } catch (error) {
      say(error.name === "InvalidStateError" ? "This device has a passkey for your account already." : "Nothing was done: the passkey was not used. Try again.");
    }
  });
});
