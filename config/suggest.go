package config

import "strings"

// nearest returns the known key that an unknown one was most likely meant to be, or ""
// if none is like it. It compares whole keys and last parts, so that an option that was
// put into the wrong section is found as well.
func nearest(unknown string, known []string) string {
	best, least := "", min(len(unknown)/3+1, 5)
	for _, k := range known {
		d := distance(unknown, k)
		if l := lastPart(unknown); len(l) > 2 {
			d = min(d, distance(l, lastPart(k))+2)
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance is the Levenshtein distance: how many letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
