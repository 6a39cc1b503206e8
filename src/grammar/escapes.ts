/** Places of a trie where ways left the part of the stack that is known: what lies below decides the tokens on. */
import type { Trie } from "./token_trie.ts";

/** Nodes from which the stack under a bottom goes on, by the byte that it must take to get there. */
export class Escapes {
  /** Bottom (-1 ...), then byte, then the nodes that the byte leads to. */
  readonly nodes: Map<number, Map<number, number[]>> = new Map();
  /** Nodes in all. */
  count = 0;

  /** A way left at this node: the stack under the bottom takes the bytes that lead on from there. */
  add(trie: Trie, node: number, bottom: number): void {
    const { byte, end } = trie;
    for (let child = node + 1; child < end[node]!; child = end[child]!) {
      let byBytes = this.nodes.get(bottom);
      if (byBytes === undefined) this.nodes.set(bottom, byBytes = new Map());
      const known = byBytes.get(byte[child]!);
      if (known === undefined) byBytes.set(byte[child]!, [child]);
      else known.push(child);
      this.count++;
    }
  }
}
