// Shows what would become of the site while its form is filled. Without this the button does the same
// by loading the page anew.

// A scan takes 16 s at most.
const TIMEOUT_MS = 30_000;

export function lookAhead(form: HTMLFormElement, button: HTMLButtonElement): void {
  const target = document.getElementById(button.dataset["look"] ?? "");
  const domain = form.elements.namedItem("domain");
  const origin = form.elements.namedItem("origin");
  if (!target || !(domain instanceof HTMLInputElement) || !(origin instanceof HTMLInputElement)) {
    return;
  }
  let asked = "";
  let asking = new AbortController();
  let natively = false;

  /** Return whether something was found, or a later look has taken over. */
  const look = async (): Promise<boolean> => {
    asked = `${domain.value} ${origin.value}`;
    asking.abort();
    const mine = (asking = new AbortController());
    target.hidden = false;
    target.textContent = button.dataset["looking"] ?? "";
    try {
      const answer = await fetch(button.formAction, {
        method: "POST",
        body: new URLSearchParams(
          [...new FormData(form)].map(([name, value]): [string, string] => [name, String(value)]),
        ),
        headers: { Accept: "text/html" },
        signal: AbortSignal.any([mine.signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = fresh.getElementById(target.id)?.childNodes ?? [];
      target.replaceChildren(...[...found].map((node) => document.importNode(node, true)));
      return true;
    } catch {
      if (mine.signal.aborted) return true;
      target.hidden = true;
      return false;
    }
  };

  button.addEventListener("click", async (event) => {
    if (natively) return;
    event.preventDefault();
    if (await look()) return;
    // The server's page says what is wrong.
    natively = true;
    button.click();
  });
  for (const input of [domain, origin]) {
    input.addEventListener("change", () => {
      const wanted = `${domain.value} ${origin.value}`;
      if (domain.value.trim() && origin.value.trim() && wanted !== asked) void look();
    });
  }
}
