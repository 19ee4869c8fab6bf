// What a screen reader is told while an answer is written: whole sentences, or the finished answer, or nothing.

const SENTENCE_END = /[.!?](?=\s)|[。！？]|\n/g;

export class Announcer {
  private text = "";
  private said = 0;

  constructor(
    private readonly say: (text: string) => void,
    private readonly when: "sentences" | "end" | "off",
  ) {}

  begin(text: string): void {
    if (this.when !== "off") this.say(text);
  }

  add(text: string): void {
    this.text += text;
    if (this.when !== "sentences") return;
    let end = this.said;
    for (const found of this.text.slice(this.said).matchAll(SENTENCE_END)) end = this.said + found.index + 1;
    if (end > this.said) this.tell(this.text.slice(this.said, end));
    this.said = end;
  }

  end(whole: string): void {
    if (this.when === "off") return;
    this.tell(this.when === "end" ? whole : this.text.slice(this.said) || whole);
  }

  private tell(text: string): void {
    const plain = text.replace(/[*_`#>|]+/g, "").trim();
    if (plain) this.say(plain);
  }
}
