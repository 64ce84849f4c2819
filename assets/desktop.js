// What the upload page does on desktops only, loaded by them alone: dragging and pasting. The server appends `say`, the words of this file in the page's language.
// ---- Dragged onto a part, or pasted into the page. ----
export function dropping(parts) {
  for (const part of parts) part.hint.append(document.createElement("br"), say.dropHere);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    addEventListener(kind, (event) => {
      const carried = event.dataTransfer;
      if (!carried || !Array.from(carried.types).includes("Files")) return;
      const part = kind !== "dragleave" && parts.find((p) => p.waits() && p.box.contains(event.target));
      // Beside the parts a browser would leave the page and open the file.
      event.preventDefault();
      carried.dropEffect = part ? "copy" : "none";
      parts.forEach((p) => p.box.classList.toggle("over", kind === "dragover" && p === part));
      if (kind === "drop" && part && carried.files[0]) part.drop(carried.files[0]);
    });
  }
  addEventListener("paste", (event) => {
    const file = event.clipboardData && event.clipboardData.files[0];
    const free = parts.filter((p) => p.waits() && !p.file), part = free.find((p) => p.box.contains(document.activeElement)) || free[0];
    if (file && part) { event.preventDefault(); part.drop(file); }
  });
}
