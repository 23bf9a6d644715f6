package intent

import (
	"strings"
	"sync"
)

func set(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// functionWords say nothing about what is meant.
var functionWords = set(`
	a an the this that these those it its them they here there my our your me us i we you
	all every each everything everywhere anything any some single both entire whole one ones
	to in on of at for from by with into onto inside within also too so if
	is are be am was were being do does did can could would will should may might must want wants need needs like d id s ll m im ive ill lets let
	please thanks thank hey ok okay now just right again already currently presently moment really still away
	something anything somebody someone safely properly actually currently definitely
	give look looks hows im wanna gonna gotta
	have has got get make made sure go going around across throughout over
	what whats which who whos whose where wheres when how many much tell know check see whether show
	house home apartment`)

// placeWords say that a name is one of an area or a floor.
var placeWords = set("room rooms area areas space place floor floors level flat building")

// logicWords turn a command into another. They are never taken for a slip of something else.
var logicWords = set("but except not no dont doesnt didnt without or never only unless cannot cant wont nor other others")

// otherWords only sound like those of commands, and mean something else.
var otherWords = set("hire reply")

// joinWords are between two commands, or two things.
var joinWords = set("and then")

// verbs of which an utterance must have one for something to be turned on or off without being asked about.
var verbs = set(`on off turn turned switch open opened close closed shut lock unlock start stop run raise lower lift up down activate deactivate enable disable
	power illuminate lit light bring put set change press kill cut secure transition out vacuum clean`)

// conditions say that something is to be done later, or only perhaps.
var conditions = set("when whenever if unless until once while later after before tomorrow tonight")

// numberWords are numbers in words, which speech recognition may leave as they are.
var numberWords = map[string]int{
	"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13,
	"fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
	"sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90, "hundred": 100,
}

var (
	lightWords = set("illuminate lit light lights lamp lamps lighting bulb bulbs brightness bright brighten dim dimmed color colour brighter dimmer")
	unitWords  = set("second seconds minute minutes hour hours sec secs min mins")
	partWords  = set("half quarter 2 4")
	mostWords  = set("max maximum highest full fully brightest loudest completely")
	leastWords = set("min minimum lowest dimmest quietest least")
)

// ways are the verbs that turn things of a domain on, and those that turn them off; "" is for all other domains.
var ways = map[string][2]map[string]bool{
	"cover":               {set("open raise lift up opened"), set("close shut lower down closed")},
	"valve":               {set("open opened on"), set("close shut closed off")},
	"lock":                {set("lock secure locked"), set("unlock open unlocked")},
	"alarm_control_panel": {set("on arm armed activate enable start"), set("off disarm disarmed deactivate disable stop")},
	"":                    {set("activate enable start illuminate"), set("off deactivate disable stop out kill")},
}

// upDown are domains whose things are louder, brighter, warmer or faster when they are turned up.
var upDown = set("media_player light climate fan")

// opposites are intents that the model takes for each other, and the words that tell them apart.
var opposites = []struct {
	a, b       string
	sayA, sayB map[string]bool
}{
	{"HassMediaNext", "HassMediaPrevious", set("next skip forward"), set("previous last back replay again before")},
	{"HassMediaPause", "HassMediaUnpause", set("pause stop hold"), set("resume unpause continue")},
	{"HassVacuumStart", "HassVacuumReturnToBase", set("start begin clean vacuum hoover"), set("return dock base back home")},
	{"HassIncreaseTimer", "HassDecreaseTimer", set("add increase more extend longer"), set("take remove decrease reduce subtract off less shorten")},
	{"HassGetCurrentDate", "HassGetCurrentTime", set("date day today todays month year"), set("time clock hour")},
	{"HassPauseTimer", "HassUnpauseTimer", set("pause hold"), set("resume unpause continue")},
	{"HassListAddItem", "HassListCompleteItem", set("add put need buy"), set("check complete completed remove delete cross tick off done take")},
	{"HassShoppingListAddItem", "HassShoppingListCompleteItem", set("add put need buy"), set("check complete completed remove delete cross tick off done take")},
}

// Words of intents beside the names of what they are for. Most are what is left of Home Assistant's English sentence templates when those are taken
// out (home-assistant/intents, CC BY 4.0), the others their like.
const (
	onWords = `on up turn turned switch switched put bring set change activate enable start run open opened raise raised lift lock secure
		illuminate lit power press transition device devices mode script`
	offWords = `off out down turn turned switch switched put bring set change deactivate disable stop close closed shut lower lowered unlock open kill cut
		power device devices mode leave`
	levelWords = `set change adjust turn up down increase decrease raise lower percent percentage min minimum max maximum half halfway full fully quarter
		lowest highest as possible level`
	timerWords = `timer timers set start create add new named called second seconds minute minutes hour hours half quarter sec secs min mins time left long
		remaining status increase decrease more less off take remove extend shorten reduce cancel stop pause resume continue unpause end delete running
		countdown count alarm down`
	listWords  = `list lists put add take need buy pick check off complete completed done mark remove delete cross tick shopping grocery groceries todo item items bought strike`
	mediaWords = `after before music media playing song songs track tracks item show shows tv film movie player players playback video`
	stateWords = `state status value on off open opened closed shut opening closing shutting locked unlocked securely turned switched set running level levels
		current measured indicated reading not no clear device devices thing things sensor sensors detected triggered anyone everyone people person`
)

var intentWords = map[string]map[string]bool{
	"HassBroadcast":                set("broadcast announce announcement tell everyone everybody say message"),
	"HassCancelAllTimers":          set(timerWords),
	"HassCancelTimer":              set(timerWords),
	"HassClimateGetTemperature":    set("temperature temp current hot warm cold cool degrees"),
	"HassClimateSetTemperature":    set(levelWords + " temperature temp degree degrees thermostat heat heating warm cool ac climate celsius fahrenheit c f"),
	"HassDecreaseTimer":            set(timerWords),
	"HassGetCurrentDate":           set("date day today todays current week month year"),
	"HassGetCurrentTime":           set("time current clock"),
	"HassGetState":                 set(stateWords),
	"HassGetWeather":               set("weather forecast outside outdoors today current"),
	"HassIncreaseTimer":            set(timerWords),
	"HassLightSet":                 set(levelWords + " brightness bright brighten dim dimmed color colour light lights"),
	"HassListAddItem":              set(listWords),
	"HassListCompleteItem":         set(listWords),
	"HassMediaNext":                set(mediaWords + " next skip play"),
	"HassMediaPause":               set(mediaWords + " pause hold stop"),
	"HassMediaSearchAndPlay":       set(mediaWords + " play playing put listen watch hear playlist album artist podcast called named by"),
	"HassMediaPrevious":            set(mediaWords + " previous last latest replay back play before"),
	"HassMediaUnpause":             set(mediaWords + " resume unpause continue play playing"),
	"HassNevermind":                set("never mind nevermind forget cancel"),
	"HassPauseTimer":               set(timerWords),
	"HassRespond":                  set("hi hello assistant data always recording record created create made ask say listening hear"),
	"HassSetPosition":              set(levelWords + " position open close closed opened shut lift"),
	"HassSetVolume":                set(levelWords + " volume sound loud louder quiet quieter softer"),
	"HassShoppingListAddItem":      set(listWords),
	"HassShoppingListCompleteItem": set(listWords),
	"HassStartTimer":               set(timerWords),
	"HassTimerStatus":              set(timerWords),
	"HassTurnOff":                  set(offWords),
	"HassTurnOn":                   set(onWords),
	"HassUnpauseTimer":             set(timerWords),
	"HassVacuumReturnToBase":       set("return send dock base station charge charging back vacuum robot stop"),
	"HassVacuumStart":              set("start run vacuum clean cleaning hoover robot begin"),
}

// mustSay are words of which an utterance must have one for the intent to be meant: without, the model has only found nothing better.
var mustSay = map[string]map[string]bool{
	"HassBroadcast":                set("broadcast announce announcement tell everyone everybody"),
	"HassCancelAllTimers":          set("timer timers"),
	"HassCancelTimer":              set("timer timers countdown"),
	"HassDecreaseTimer":            set("timer timers countdown"),
	"HassGetCurrentDate":           set("date day today todays month year"),
	"HassGetCurrentTime":           set("time clock"),
	"HassGetState":                 set("is are what whats which how hows where wheres who whos did does do has have tell show check any status state see whether was were many when"),
	"HassGetWeather":               set("weather forecast"),
	"HassIncreaseTimer":            set("timer timers countdown"),
	"HassListAddItem":              set("list lists shopping"),
	"HassListCompleteItem":         set("list lists shopping"),
	"HassMediaNext":                set("next skip"),
	"HassMediaPause":               set("pause stop hold"),
	"HassMediaPrevious":            set("previous last back replay again"),
	"HassMediaSearchAndPlay":       set("play put listen watch hear"),
	"HassMediaUnpause":             set("resume unpause continue play"),
	"HassNevermind":                set("mind nevermind forget cancel"),
	"HassPauseTimer":               set("timer timers countdown"),
	"HassRespond":                  set("hi hello data recording record listening created made ask say"),
	"HassSetVolume":                set("volume sound louder quieter loud quiet"),
	"HassShoppingListAddItem":      set("list lists shopping groceries"),
	"HassShoppingListCompleteItem": set("list lists shopping groceries"),
	"HassStartTimer":               set("timer timers countdown"),
	"HassTimerStatus":              set("timer timers countdown"),
	"HassUnpauseTimer":             set("timer timers countdown"),
	"HassVacuumReturnToBase":       set("return send dock base back"),
	"HassVacuumStart":              set("start run vacuum clean cleaning hoover begin"),
}

// domainWords are the words that mean any device of a domain.
var domainWords = map[string]map[string]bool{
	"light": set("light lights lamp lamps lighting bulb bulbs"),
	"fan":   set("fan fans"), "switch": set("switch switches outlet outlets plug plugs"),
	"cover": set(`cover covers curtain curtains blind blinds shade shades shutter shutters awning awnings gate gates window windows door doors garage drapes
		damper dampers`),
	"lock": set("lock locks door doors gate gates window windows"), "valve": set("valve valves"),
	"scene": set("scene scenes mode"), "script": set("script scripts mode"),
	"climate":      set("thermostat thermostats heating climate ac temperature"),
	"media_player": set("player players tv television tvs speaker speakers radio stereo sound music"),
	"vacuum":       set("vacuum vacuums robot cleaner"), "todo": set("list lists"), "weather": set("weather"),
	"person": set("anyone everyone everybody anybody somebody people person"),
}

// classWords are the words that mean entities of a device class.
var classWords = map[string]map[string]bool{
	"apparent_power": set("apparent power"), "aqi": set("aqi air quality index"), "atmospheric_pressure": set("pressure atmospheric air"),
	"awning": set("awning awnings"), "battery": set("battery batteries low normal charged remaining left"), "battery_charging": set("charging battery batteries"),
	"blind": set("blind blinds"), "carbon_dioxide": set("concentration dioxide carbon co2"), "carbon_monoxide": set("monoxide carbon co concentration"),
	"cold": set("cold normal"), "connectivity": set("connected disconnected online offline"), "current": set("amount electrical electric"),
	"curtain": set("curtain curtains"), "damper": set("damper dampers"), "data_rate": set("rate speed data download upload"), "data_size": set("size data amount"),
	"date": set("date happen calendar"), "distance": set("distance"), "door": set("door doors"), "duration": set("duration"), "energy": set("energy amount"),
	"energy_storage": set("energy amount stored total"), "frequency": set("frequency"), "garage": set("garage door doors"), "garage_door": set("garage door doors"),
	"gas": set("gas volume amount"), "gate": set("gate gates"), "heat": set("hot heat normal"), "humidity": set("humidity relative air atmospheric humid"),
	"illuminance": set("illuminance brightness amount light bright"), "irradiance": set("irradiance amount radiation irradiation"), "light": set("light lights"),
	"moisture": set("water moisture dry wet flooded flood leak leaking percentage ratio relative"), "monetary": set("amount cash cost money price"),
	"motion": set("motion moving movement"), "nitrogen_dioxide": set("no2 concentration nitrogen dioxide"), "nitrogen_monoxide": set("concentration nitrogen monoxide"),
	"nitrous_oxide": set("oxide nitrous concentration n2o"), "occupancy": set("occupancy occupied"), "opening": set("openings opening"), "ozone": set("o3 ozone"),
	"plug": set("plugged unplugged plug"), "pm1": set("pm1 particles concentration"), "pm10": set("pm10 particles concentration"),
	"pm25": set("pm2 pm25 particles concentration"), "power": set("power powered"), "power_factor": set("power factor"),
	"precipitation":           set("accumulated precipitation quantity rainfall rain snow snowfall"),
	"precipitation_intensity": set("rate precipitation intensity rainfall snow rain snowfall"), "presence": set("present away gone presence home"),
	"pressure": set("pressure"), "problem": set("problem problems"), "reactive_power": set("reactive power"), "safety": set("safe unsafe"),
	"shade": set("shade shades"), "shutter": set("shutter shutters"), "signal_strength": set("signal strength"), "smoke": set("smoke"), "sound": set("sound noise"),
	"sound_pressure": set("pressure sound acoustic"), "speed": set("speed velocity"), "sulphur_dioxide": set("so2 sulphur dioxide concentration"),
	"tamper": set("tampered tamper tampering"), "temperature": set("temperature temp hot cold warm degrees"), "update": set("update updates available software firmware up date"),
	"vibration": set("vibrating vibration"), "volatile_organic_compounds": set("concentration organic compounds volatile vocs voc compound"),
	"volatile_organic_compounds_parts": set("organic vocs compound volatile ratio compounds concentration voc"), "voltage": set("voltage drop"),
	"volume": set("volume"), "volume_storage": set("volume stored total"), "water": set("water total consumption consumed amount"), "weight": set("weight mass"),
	"wind_speed": set("speed wind velocity"), "window": set("window windows"), "running": set("running"), "lock": set("lock locked unlocked"),
}

// vocabulary is all words above: what is not a name.
var vocabulary = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{}
	add := func(m map[string]bool) {
		for w := range m {
			all[w] = true
		}
	}
	for _, m := range []map[string]bool{functionWords, placeWords, joinWords, unitWords, partWords, mostWords, leastWords} {
		add(m)
	}
	for _, sets := range []map[string]map[string]bool{intentWords, mustSay, domainWords, classWords} {
		for _, m := range sets {
			add(m)
		}
	}
	for w := range numberWords {
		all[w] = true
	}
	return all
})
