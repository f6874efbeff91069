/** What a cell of the grid stands for. */

export const FREE = 0;
export const CACHED = 1;
export const FIRST_OWNERS = 2; // codes from here on are places in `grid.owners`: [how many, request, request, ...]
export const NUM_HUES = 8;
