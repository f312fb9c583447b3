// Asks the server about each field while somebody types. The server decides again when the form is
// sent, so whatever fails here is silently left to it.

// Long enough that a word is typed without asking, short enough to feel immediate.
const PAUSE_MS = 300;

interface Verdict {
  ok: boolean;
  message: string;
}

export function validateWhileTyping(form: HTMLFormElement, url: string): void {
  for (const input of form.querySelectorAll<HTMLInputElement>("input[aria-describedby]")) {
    const message = document.getElementById(`${input.name}-error`);
    if (message) watch(input, message, url);
  }
}

function watch(input: HTMLInputElement, message: HTMLElement, url: string): void {
  let timer = 0;
  let asking = new AbortController();
  let asked = input.value;

  const ask = async (): Promise<void> => {
    clearTimeout(timer);
    if (input.value === asked) return;
    asked = input.value;
    asking.abort();
    asking = new AbortController();
    if (!input.value.trim()) {
      show(input, message, null);
      return;
    }
    const query = new URLSearchParams({ field: input.name, value: input.value });
    try {
      const answer = await fetch(`${url}?${query}`, {
        signal: asking.signal,
        headers: { accept: "application/json" },
      });
      show(input, message, answer.ok ? ((await answer.json()) as Verdict) : null);
    } catch {
      // Aborted by the next key, or the server is away.
    }
  };

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void ask(), PAUSE_MS);
  });
  input.addEventListener("blur", () => void ask());
}

function show(input: HTMLInputElement, message: HTMLElement, verdict: Verdict | null): void {
  message.textContent = verdict?.message ?? "";
  message.classList.toggle("good", verdict?.ok ?? false);
  input.classList.toggle("good", verdict?.ok ?? false);
  if (verdict && !verdict.ok) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}
