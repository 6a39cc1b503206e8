/** `cache_control`: the beginnings of all prompts are cached anyway, so it is checked and changes nothing. */
import type { Fields } from "../fields.ts";

/** Reads the field of a block, a tool or a body. */
export function readCacheControl(fields: Fields): void {
  const control = fields.object("cache_control");
  if (control === undefined) return;
  const type = control.required("type", control.string("type"), `"ephemeral"`);
  if (type !== "ephemeral") control.wrong("type", type, `"ephemeral"`);
  const ttl = control.string("ttl");
  if (ttl !== undefined && ttl !== "5m" && ttl !== "1h") control.wrong("ttl", ttl, `"5m" or "1h"`);
  control.refuseRest(["scope"]);
}
