package faults

import (
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// mistake is one of package gateway/planted, with the trial that has to find it.
type mistake struct {
	// trial tells what was wrong, if anything was, with a gateway that is yet to start.
	trial func(t *testing.T, g *gateway) string
	// sync is the gateway's state.sync_interval, if it is not the default: the longer, the
	// more a kill takes.
	sync string
	// brief: it is also looked for in the short form.
	brief bool
}

var mistakes = map[string]mistake{
	"ack_before_sync":             {trial: killTrial, sync: "300ms", brief: true},
	"pubrel_before_released":      {trial: killTrial, sync: "300ms"},
	"renumber_topic_ids":          {trial: killTrial},
	"delete_before_puback":        {trial: radioTrial},
	"forget_qos2_id":              {trial: radioTrial},
	"stale_hand_msgid":            {trial: radioTrial},
	"pingresp_first":              {trial: sleepTrial, brief: true},
	"queue_order_reversed":        {trial: sleepTrial},
	"lose_will":                   {trial: willTrial, brief: true},
	"resync_after_eio":            {trial: simulatorTrial},
	"drop_on_level_without_count": {trial: fullTrial},
	"ack_upstream_before_durable": {trial: upstreamTrial, sync: "200ms"},
	"spool_deleted_when_sent":     {trial: upstreamTrial},
}

// only is the one mistake that is looked for, if it is set.
var only = os.Getenv("FAULTS_PLANTED")

// attempts is how often a mistake is looked for: kills may hit the wrong moments.
const attempts = 6

// TestPlantedMistakes: each mistake that the gateway is made to make is found. In full,
// each trial also has to find nothing where there is none.
func TestPlantedMistakes(t *testing.T) { //nolint:tparallel // trials come one after the other: their kills need time
	beside(t)
	binary := filepath.Join(buildDir, "planted")
	if err := build(binary, "-tags", "planted"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, name := range slices.Sorted(maps.Keys(mistakes)) {
		m := mistakes[name]
		if only != "" && name != only || only == "" && !long && !m.brief {
			continue
		}
		try := func(t *testing.T, planted string) string {
			g := newGateway(t)
			g.binary, g.env = binary, []string{"PLANTED=" + planted}
			if m.sync != "" {
				g.options["state.sync_interval"] = m.sync
			}
			defer g.abandon()
			return m.trial(t, g)
		}
		evidence := ""
		for i := 1; i <= attempts && evidence == ""; i++ {
			t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) { evidence = try(t, name) })
		}
		if evidence == "" {
			t.Errorf("%s was not found: seed %d", name, *seed)
		} else {
			t.Logf("%s was found: %s", name, evidence)
		}
		if long {
			t.Run(name+"/control", func(t *testing.T) {
				if evidence := try(t, ""); evidence != "" {
					t.Errorf("the trial finds what is not there: %s", evidence)
				}
			})
		}
	}
	t.Logf("all was found in %v", time.Since(began).Round(time.Second))
}

// simulatorTrial leaves to the simulated disk what a process that is killed does not show:
// what was written and not synced is lost in a power cut only.
func simulatorTrial(_ *testing.T, g *gateway) string {
	test := exec.Command("go", "test", "-count=1", "-tags", "planted", "-run", "TestSimFailAtEachOperation", "mqttsn-gateway/gateway/store/disk")
	test.Env = append(os.Environ(), g.env...)
	out, err := test.CombinedOutput()
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%v: %s", err, out)
}

func killTrial(t *testing.T, g *gateway) string {
	g.start()
	r := newTraffic(t, 10, g.udp, g.mqtt, 5*time.Millisecond)
	r.hurry()
	r.publish(200, g.kills(dice(t), 5, time.Second))
	return r.evidence(g)
}

func radioTrial(t *testing.T, g *gateway) string {
	g.start()
	r := newTraffic(t, 20, newRadio(t, g.udp, dice(t)).addr, g.mqtt, 0)
	r.hurry()
	r.publish(400, g.kills(dice(t), 5, 2*time.Second))
	return r.evidence(g)
}

func upstreamTrial(t *testing.T, g *gateway) string {
	b := newGateway(t)
	b.options["state.sync_interval"] = "50ms" // so that messages are under way for a while
	b.start()
	defer b.abandon()
	g.broker = "mqtt://" + b.mqtt
	g.start()
	g.ready()
	r := newTraffic(t, 10, g.udp, b.mqtt, 5*time.Millisecond)
	r.hurry()
	r.publish(200, g.kills(dice(t), 6, 1500*time.Millisecond))
	return r.evidence(g)
}

func sleepTrial(t *testing.T, g *gateway) string {
	g.start()
	return sleepThroughKills(t, g, 5, 6)
}

func willTrial(t *testing.T, g *gateway) string {
	g.start()
	return dieWithTheGateway(t, g)
}

func fullTrial(t *testing.T, g *gateway) string {
	r := fillDisk(t, g, 400, 1)
	return r.evidence(g)
}

// hurry does not wait for long for what does not come, and leaves copies with QoS 1 out of
// account: trials have few messages.
func (r *traffic) hurry() {
	r.stall = 4 * time.Second
	r.tolerate(math.Inf(1))
	r.ledger.Tolerate("listener", math.Inf(1))
}

// abandon ends a gateway that nobody looks at any more.
func (g *gateway) abandon() {
	if g.process != nil && g.running() {
		g.kill()
	}
}
