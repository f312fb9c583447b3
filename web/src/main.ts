// What every page loads: style, copy buttons, validation while somebody types, the time zone.
import "./style.css";
import "./duck.svg";
import { readFileInto } from "./files";
import { lookAhead } from "./look";
import { validateWhileTyping } from "./validation";
import { tellZone } from "./zone";

function enableCopyButtons(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-copy]")) {
    // Without the clipboard API (plain http from afar) the text can still be selected by hand.
    if (!navigator.clipboard) continue;
    const label = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset["copy"] ?? "");
      button.textContent = button.dataset["copied"] ?? label;
      setTimeout(() => (button.textContent = label), 2000);
    });
  }
}

tellZone();
enableCopyButtons();
for (const form of document.querySelectorAll<HTMLFormElement>("form[data-live-validation]")) {
  validateWhileTyping(form, form.dataset["liveValidation"] ?? "");
  const look = form.querySelector<HTMLButtonElement>("button[data-look]");
  if (look) lookAhead(form, look);
}
for (const field of document.querySelectorAll<HTMLElement>("[data-file-into]")) {
  const target = document.getElementById(field.dataset["fileInto"] ?? "");
  if (target instanceof HTMLTextAreaElement) readFileInto(field, target);
}
