/** What the loop has to say, collected: prompts' scores, one `step` message for all sequences, then what ended. */
import type { FromEngine, StepMessage, WireLogprob } from "./protocol.ts";

function noNews(): StepMessage {
  return { type: "step", ids: [], texts: [], tokenEnds: [], tokens: [] };
}

/** Messages to the main thread; endings leave after the news they belong to. */
export class Outbox {
  readonly #post: (message: FromEngine) => void;
  #scores: FromEngine[] = [];
  #news: StepMessage = noNews();
  #endings: FromEngine[] = [];

  constructor(post: (message: FromEngine) => void) {
    this.#post = post;
  }

  /** Log-probabilities of the next tokens of a prompt. */
  score(id: number, scores: WireLogprob[]): void {
    this.#scores.push({ type: "scored", id, scores });
  }

  /** Text and tokens of one sequence. */
  tell(id: number, text: string, tokens: number[], logprob?: WireLogprob): void {
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
    for (const scores of this.#scores.splice(0)) this.#post(scores);
    if (this.#news.ids.length > 0) {
      this.#post(this.#news);
      this.#news = noNews();
    }
    for (const ending of this.#endings.splice(0)) this.#post(ending);
  }
}
