// Why a letter is dead: in words, and what helps.
import { html } from "../../lib.js";
import { msg, t } from "../../i18n.js";
import { Badge } from "../../components.js";

/** In the order in which they are offered: tone, name, and a sentence that helps. */
export const REASONS = {
  retries_exhausted: ["bad", msg("Retries used up"), msg("Every attempt it was allowed failed. The attempts tell what the receiver said: mend the receiver, the URL or the payload, then replay.")],
  missed_window: ["warn", msg("Missed its time"), msg("It could not be attempted within its misfire grace, and later it may be unwelcome. Replay it if it still makes sense.")],
  rejected_by_policy: ["warn", msg("Forbidden address"), msg("The address policy of this service does not allow where it leads. Mend the URL, or allow the address in the settings, then replay.")],
  gone: ["neutral", msg("Gone"), msg("The receiver answered 410 Gone: it wants no more of these. Mend the URL, or delete it.")],
  invalid_record: ["neutral", msg("Not a message"), msg("Somebody wrote a record to the store that is no message. Its bytes are kept to be read; it can be deleted, but not sent.")],
};

export const reasonLabel = (reason) => t(REASONS[reason]?.[1] ?? reason);
export const reasonHelp = (reason) => (REASONS[reason] ? t(REASONS[reason][2]) : null);

export function ReasonBadge({ reason }) {
  return html`<${Badge} tone=${REASONS[reason]?.[0]}>${reasonLabel(reason)}</${Badge}>`;
}

/** What the API's filter calls it when nobody can tell where a letter was to go. */
export const NOWHERE = "none";

/** "https://example.com:443" without the port that goes without saying. */
export function shortDestination(destination) {
  try {
    return new URL(destination).origin;
  } catch {
    return destination;
  }
}

/** What a refusal says, with what it says of fields. */
export const saidBy = (error) => [error.message, ...Object.values(error.errors ?? {}).flat()].join(" – ");

/** What can be done about a letter. */
export const canReplay = (letter) => letter.reason !== "invalid_record";
export const canMend = (letter) => canReplay(letter) && !letter.executionId;
