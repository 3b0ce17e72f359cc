package auth

import "testing"

func BenchmarkAuthenticate(b *testing.B) {
	for name, iterations := range map[string]int{"sha512": 0, "pbkdf2_101": 101, "pbkdf2_default": DefaultIterations} {
		p := newPasswords()
		e := &entry{user: "u", hash: newHash([]byte("p"), iterations)}
		p.byUser["u"], p.all = e, []*entry{e}
		t := newTurns()
		b.Run(name+"/wrong", func(b *testing.B) {
			for b.Loop() {
				_ = p.check("u", []byte("q"), t)
			}
		})
		b.Run(name+"/again", func(b *testing.B) {
			for b.Loop() {
				_ = p.check("u", []byte("p"), t)
			}
		})
	}
}
