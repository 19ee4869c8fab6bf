/** Opens the last question for editing; false if there is none. */
export function lastUserEdit(): boolean {
  const buttons = document.querySelectorAll<HTMLButtonElement>("[data-role=user] [data-act=edit]:not(:disabled)");
  const last = [...buttons].at(-1);
  last?.click();
  return last !== undefined;
}
