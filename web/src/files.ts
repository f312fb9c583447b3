// Puts a file that was chosen into a text field, so that the server gets it the way as if it had been
// pasted. Without script the file field stays hidden, and pasting works.

export function readFileInto(field: HTMLElement, target: HTMLTextAreaElement): void {
  const input = field.querySelector<HTMLInputElement>("input[type=file]");
  if (!input) return;
  field.hidden = false;
  input.addEventListener("change", async () => {
    const file = input.files?.[0];
    if (file) target.value = await file.text();
  });
}
