/**
 * What each client was given, so that who had least goes first. Kept for clients with sequences, and for those that
 * left with more than others had: coming again does not make that undone.
 */

/** What a generated token counts, in prompt tokens: a step computes few rows of the one and many of the other. */
export const GENERATED_COST = 4;
/** Clients without sequences that are remembered. */
const ABSENT_MAX = 1024;

interface Account {
  /** In prompt tokens. */
  given: number;
  /** Sequences that have not ended. */
  nPresent: number;
}

/** The accounts of the clients of one scheduler. */
export class Ledger {
  readonly #accounts = new Map<string, Account>();
  #nAbsent = 0;

  /**
   * A sequence of this client came. One that had none begins with what the least served of the others has: time in
   * which nobody asked is not saved up.
   */
  enter(client: string): void {
    const known = this.#accounts.get(client);
    if (known !== undefined && known.nPresent > 0) {
      known.nPresent++;
      return;
    }
    const given = Math.max(known?.given ?? 0, this.#least());
    if (known !== undefined) this.#nAbsent--;
    this.#accounts.set(client, { given, nPresent: 1 });
  }

  /** A sequence of this client ended. */
  leave(client: string): void {
    const account = this.#accounts.get(client)!;
    if (--account.nPresent > 0) return;
    this.#accounts.delete(client);
    const nOthers = this.#accounts.size - this.#nAbsent;
    if (nOthers === 0) {
      // Nobody is left to compare with.
      this.#accounts.clear();
      this.#nAbsent = 0;
    } else if (account.given > this.#least()) {
      this.#accounts.set(client, account);
      if (++this.#nAbsent > ABSENT_MAX) this.#forgetOne();
    }
  }

  /** A present client got `cost` more; below 0 = it needed less than was thought. */
  charge(client: string, cost: number): void {
    this.#accounts.get(client)!.given += cost;
  }

  /** What a present client was given. */
  given(client: string): number {
    return this.#accounts.get(client)!.given;
  }

  /** The least that a present client has; 0 when there is none. */
  #least(): number {
    let least = Infinity;
    for (const { given, nPresent } of this.#accounts.values()) if (nPresent > 0 && given < least) least = given;
    return least === Infinity ? 0 : least;
  }

  /** Forgets the one that left first. */
  #forgetOne(): void {
    for (const [client, { nPresent }] of this.#accounts) {
      if (nPresent > 0) continue;
      this.#accounts.delete(client);
      this.#nAbsent--;
      return;
    }
  }
}
