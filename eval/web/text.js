// What models wrote, as text: characters that would not be seen, or would turn a line around, are
// shown by their codes.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
const LONG = 6000;  // characters shown at first

function visible(text) {
  return text.replace(HIDDEN, (character) => {
    const code = character.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return code === 0x7f ? "␡" : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

function written(text, label) {
  const block = el("pre", { dir: "auto", tabindex: 0, "aria-label": label });
  if (text.length <= LONG) {
    block.textContent = visible(text);
    return block;
  }
  const half = LONG / 2;
  const more = el(
    "button",
    { type: "button", onclick: () => { block.textContent = visible(text); block.focus(); } },
    `show all ${count(text.length)} characters`,
  );
  block.append(visible(text.slice(0, half)), el("span", { class: "gap" }, "\n… ", more, " …\n"), visible(text.slice(-half)));
  return block;
}

function value(any) {
  if (typeof any === "number") return Number.isInteger(any) ? String(any) : String(Number(any.toPrecision(4)));
  if (typeof any === "string") return visible(cut(any, 2000));
  if (Array.isArray(any)) return any.map(value).join(", ");
  if (any && typeof any === "object") return Object.entries(any).map(([name, of]) => `${visible(name)} ${value(of)}`).join(", ");
  return String(any);
}
