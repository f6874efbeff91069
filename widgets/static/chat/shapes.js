// @ts-check
/**
 * What the kernel says of a conversation; widgets/chat.py lists the messages.
 *
 * @typedef {{ blocks: string[], tail: string }} Part
 * @typedef {{
 *   model: string, max_context_tokens: number, num_prompt_tokens: number, num_cached_tokens: number,
 *   num_new_tokens: number, num_thinking_tokens: number, thinking_s: number, first_token_s: number | null,
 *   duration_s: number, tokens_per_s: number | null,
 * }} Figures
 * @typedef {{
 *   id: string, role: "user" | "assistant", state: "done" | "streaming" | "stopped" | "cut" | "failed", text: string,
 *   error: string | null, is_edited: boolean, siblings: string[], figures: Figures | null,
 *   thinking?: Part, answer?: Part,
 * }} Turn
 * @typedef {{
 *   name: string, max_context_tokens: number, can_switch_thinking: boolean, defaults: Record<string, unknown>,
 * }} ModelCard
 * @typedef {{
 *   seq: number, name: string | null, model: ModelCard | null, turns: Turn[], is_busy: boolean, can_undo: boolean,
 *   options: Record<string, any>,
 * }} State
 */

export {};
