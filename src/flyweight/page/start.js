// The last script of the page: everything is defined and every element is there.
"use strict";

start();
