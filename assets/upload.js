// Makes the form kinder where scripts run; without this file everything works all the same.
(function () {
  "use strict";
  document.querySelectorAll("time[datetime]").forEach(function (t) {
    var at = new Date(t.dateTime);
    if (isNaN(at)) return;
    var style = "day" in t.dataset ? { dateStyle: "long" } : { dateStyle: "long", timeStyle: "short" };
    var zone = "day" in t.dataset ? {} : { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
    try { t.textContent = at.toLocaleString(document.documentElement.lang, "day" in t.dataset ? style : zone); } catch (e) { /* the server's words stay */ }
  });
  var wrong = document.querySelector(".problem");
  if (wrong) wrong.focus();
  var form = document.querySelector("form[data-upload]");
  if (!form) return;
  var status = document.getElementById("status"), button = form.querySelector("button"), sending = false;
  form.querySelectorAll("fieldset").forEach(function (part) {
    var inputs = part.querySelectorAll("input[type=file]"), preview = part.querySelector(".preview"), shown;
    inputs.forEach(function (input) {
      input.addEventListener("change", function () {
        if (!input.files.length) return;
        inputs.forEach(function (other) { if (other !== input) other.value = ""; });
        if (shown) URL.revokeObjectURL(shown);
        preview.textContent = "";
        var file = input.files[0], words = document.createElement("p");
        words.textContent = "Can you read everything? If not, take it again.";
        if (/^image\/(jpeg|png)$/.test(file.type)) {
          var picture = document.createElement("img");
          shown = picture.src = URL.createObjectURL(file);
          picture.alt = "What you chose";
          preview.append(picture, words);
        } else {
          words.textContent = "Chosen: " + file.name;
          preview.append(words);
        }
        preview.hidden = false;
      });
    });
  });
  form.addEventListener("submit", function () {
    sending = true;
    button.disabled = true;
    status.textContent = "Sending – do not close this page.";
  });
  window.addEventListener("pageshow", function () { sending = false; button.disabled = false; status.textContent = ""; });
  window.addEventListener("offline", function () { if (sending) status.textContent = "No connection. The upload goes on when it is back."; });
})();
