/** What the loop has to say, collected: one `step` message for all sequences, then what ended. */
import type { TokenLogprob } from "../types.ts";
import type { FromEngine, StepMessage } from "./protocol.ts";

function noNews(): StepMessage {
  return { type: "step", ids: [], texts: [], tokenEnds: [], tokens: [] };
}

/** Messages to the main thread; endings leave after the news they belong to. */
export class Outbox {
  readonly #post: (message: FromEngine) => void;
  #news: StepMessage = noNews();
  #endings: FromEngine[] = [];

  constructor(post: (message: FromEngine) => void) {
    this.#post = post;
  }

  /** Text and tokens of one sequence. */
  tell(id: number, text: string, tokens: number[], logprob?: { logprob: number; top: TokenLogprob[] }): void {
    const news = this.#news;
    news.ids.push(id);
    news.texts.push(text);
    news.tokens.push(...tokens);
    news.tokenEnds.push(news.tokens.length);
    if (logprob !== undefined) (news.logprobs ??= [])[news.tokens.length - 1] = logprob;
  }

  /** `ended` or `failed`: the last of its id. */
  end(message: FromEngine): void {
    this.#endings.push(message);
  }

  /** Posts everything. */
  flush(): void {
    if (this.#news.ids.length > 0) {
      this.#post(this.#news);
      this.#news = noNews();
    }
    for (const ending of this.#endings.splice(0)) this.#post(ending);
  }
}
