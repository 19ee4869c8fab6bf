// A finger that rests on something opens its menu at that place, as a right click does with a mouse.

import type { Item } from "../parts/Menu.svelte";

const REST_MS = 450;
/** A finger that moves farther scrolls. */
const MOVED_PX = 10;

export interface PressedMenu {
  x: number;
  y: number;
  label: string;
  items: Item[];
  /** Called when it closes. */
  closed: () => void;
}

class Press {
  /** The menu that is open; `parts/PressMenu.svelte` shows it. */
  menu = $state.raw<PressedMenu | null>(null);

  open(menu: PressedMenu): void {
    if (this.menu) this.close(this.menu);
    this.menu = menu;
  }

  /** An older one closes alone: another may be open by then. */
  close(menu: PressedMenu): void {
    menu.closed();
    if (this.menu === menu) this.menu = null;
  }
}

export const press = new Press();

export interface Pressing {
  label: string;
  items: () => Item[];
  /** What keeps its own long press inside the element: links and fields, say. */
  except?: string;
  /** A right click opens the menu too; without it the browser's own menu comes. */
  mouse?: boolean;
}

/** `use:longPress={{ label, items }}`. Null: the element has no menu now. */
export function longPress(element: HTMLElement, how: Pressing | null) {
  let now = how;
  let timer = 0;
  let start: PointerEvent | null = null;
  /** The menu is open: the click that the lifted finger makes is no click on the element. */
  let opened = false;
  /** What pressed last. A `contextmenu` event of older browsers does not say what caused it. */
  let pressedBy = "";

  const mark = () => element.classList.toggle("has-press", now !== null);
  const kept = (event: Event) => Boolean(now?.except && (event.target as Element).closest(now.except));

  function cancel() {
    clearTimeout(timer);
    start = null;
  }

  function open(x: number, y: number) {
    cancel();
    if (!now || opened) return;
    getSelection()?.removeAllRanges();
    press.open({ x, y, label: now.label, items: now.items(), closed: () => (opened = false) });
    opened = true;
  }

  function down(event: PointerEvent) {
    pressedBy = event.pointerType;
    cancel();
    opened = false;
    if (!now || event.pointerType === "mouse" || !event.isPrimary || kept(event)) return;
    start = event;
    timer = window.setTimeout(() => open(event.clientX, event.clientY), REST_MS);
  }

  function moved(event: PointerEvent) {
    if (start && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > MOVED_PX) cancel();
  }

  function asked(event: MouseEvent) {
    if (!now || kept(event)) return;
    const byMouse = ((event as PointerEvent).pointerType || pressedBy) === "mouse";
    if (byMouse && !now.mouse) return;
    event.preventDefault();
    open(event.clientX, event.clientY);
  }

  /** The finger that opened the menu is lifted: that is no click on what lies under it. Enter on a link is (its `detail` is 0). */
  function clicked(event: MouseEvent) {
    if (!opened || event.detail === 0) return;
    opened = false;
    event.preventDefault();
    event.stopPropagation();
  }

  mark();
  element.addEventListener("pointerdown", down);
  element.addEventListener("pointermove", moved);
  element.addEventListener("pointerup", cancel);
  element.addEventListener("pointercancel", cancel);
  element.addEventListener("contextmenu", asked);
  element.addEventListener("click", clicked, { capture: true });
  return {
    update: (given: Pressing | null) => {
      now = given;
      mark();
    },
    destroy: cancel,
  };
}
