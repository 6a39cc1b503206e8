/** Formats of strings that are enforced, as expressions of the whole text; all others are refused. */

const MONTH_DAY =
  "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))";
const DATE = `\\d{4}-${MONTH_DAY}`;
const TIME = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const BYTE = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const HEX = "[0-9a-fA-F]";

/** An expression for each format. Some valid writings are left out: February 29, leap seconds, `::` in addresses. */
export const FORMATS: Readonly<Record<string, string>> = {
  date: `^${DATE}$`,
  time: `^${TIME}$`,
  "date-time": `^${DATE}T${TIME}$`,
  duration: "^P(?:\\d{1,4}W|\\d{1,4}Y(?:\\d{1,4}M(?:\\d{1,4}D)?)?|\\d{1,4}M(?:\\d{1,4}D)?|\\d{1,4}D" +
    "|(?:\\d{1,4}D)?T(?:\\d{1,4}H(?:\\d{1,4}M(?:\\d{1,4}S)?)?|\\d{1,4}M(?:\\d{1,4}S)?|\\d{1,4}S))$",
  email: "^[a-zA-Z0-9_+-]+(?:\\.[a-zA-Z0-9_+-]+)*@(?:[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*\\.)+[a-zA-Z]{2,12}$",
  hostname: `^${LABEL}(?:\\.${LABEL}){0,2}$`,
  ipv4: `^(?:${BYTE}\\.){3}${BYTE}$`,
  ipv6: `^(?:${HEX}{1,4}:){7}${HEX}{1,4}$`,
  uri: "^https?://[a-zA-Z0-9]+(?:[.-][a-zA-Z0-9]+)*(?::\\d{1,4})?(?:/[a-zA-Z0-9._~-]*)*" +
    "(?:\\?[a-zA-Z0-9._~=&/-]*)?(?:#[a-zA-Z0-9._~=&/-]*)?$",
  uuid: `^${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}$`,
};
